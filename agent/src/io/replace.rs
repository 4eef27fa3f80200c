//! Writing a file that others read.

use std::{fs, io, path::Path};

/// Replaces a file at once, and makes its folder if need be: whoever reads it finds the old content or the new one whole.
///
/// # Errors
/// The error of the kernel; the old content stays.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let next = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&next, content)?;
    fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_and_its_folder_made() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("run/vfiod/marks");
        replace(&path, "one\n").unwrap();
        replace(&path, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
