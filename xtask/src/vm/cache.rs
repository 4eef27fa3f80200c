//! The folder that keeps downloads between runs and between checkouts.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The cache, locked for as long as the value lives: two runs that start at once do not download twice.
pub struct Cache {
    root: PathBuf,
    _lock: File,
}

impl Cache {
    /// Opens `$VFIOD_CACHE`, `$XDG_CACHE_HOME/vfiod` or `~/.cache/vfiod`, the first that is set, and creates it.
    pub fn open() -> Result<Self> {
        Self::at(&root()?)
    }

    /// Where `name` is in the cache, without waiting for others that fill it. What is there is whole; it may not be there
    /// yet.
    pub fn place(name: &str) -> Result<PathBuf> {
        Ok(root()?.join(name))
    }

    fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("cannot create {}: set VFIOD_CACHE", root.display()))?;
        let lock = File::create(root.join("lock")).with_context(|| format!("cannot write to {}", root.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", root.display()))?;
        Ok(Self { root: root.to_path_buf(), _lock: lock })
    }

    /// The folder for `name`; it may not exist yet.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Creates the folder `name` through `fill`: it appears whole or not at all. An older one is replaced.
    pub fn create(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let whole = self.folder(name);
        let partial = self.folder(&format!("partial-{}", std::process::id()));
        drop(fs::remove_dir_all(&partial));
        fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        let filled = fill(&partial).and_then(|()| {
            drop(fs::remove_dir_all(&whole));
            if let Some(parent) = whole.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(&partial, &whole).with_context(|| format!("cannot create {}", whole.display()))
        });
        if filled.is_err() {
            drop(fs::remove_dir_all(&partial));
        }
        filled.map(|()| whole)
    }
}

fn root() -> Result<PathBuf> {
    location(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
        .context("no folder to keep downloads in: set VFIOD_CACHE")
}

fn location(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    variable("VFIOD_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("vfiod")))
        .or_else(|| variable("HOME").map(|folder| folder.join(".cache/vfiod")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_variable_decides_where_the_cache_is() {
        let all = |name: &str| Some(PathBuf::from(format!("/{name}")));
        assert_eq!(location(all), Some("/VFIOD_CACHE".into()));
        assert_eq!(location(|name| all(name).filter(|_| name != "VFIOD_CACHE")), Some("/XDG_CACHE_HOME/vfiod".into()));
        assert_eq!(location(|name| all(name).filter(|_| name == "HOME")), Some("/HOME/.cache/vfiod".into()));
        assert_eq!(location(|_| None), None);
    }

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let scratch = tempfile::tempdir().unwrap();
        let cache = Cache::at(scratch.path()).unwrap();
        let broken = cache.create("kernels/a", |folder| {
            fs::write(folder.join("half"), "")?;
            anyhow::bail!("the network went away")
        });
        assert!(broken.is_err() && !cache.folder("kernels/a").exists());
        let whole = cache.create("kernels/a", |folder| Ok(fs::write(folder.join("file"), "")?)).unwrap();
        assert!(whole.join("file").is_file());
        assert!(
            !fs::read_dir(scratch.path())
                .unwrap()
                .any(|entry| { entry.unwrap().file_name().to_string_lossy().starts_with("partial") })
        );
    }
}
