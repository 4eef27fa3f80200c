//! Which kernel to boot, as the command line says it.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// What `--kernel` may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// A kernel of Debian's.
    Series(Series),
    /// Each of them, one after the other.
    All,
    /// The image of any other.
    File(PathBuf),
}

/// A kernel that a release of Debian has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// What it is called here.
    pub name: &'static str,
    /// Its version, or `sid` for the one that moves.
    pub version: &'static str,
    /// The release that has it.
    pub suite: &'static str,
    /// Whose build of it is booted.
    pub build: Build,
}

/// How a kernel is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// As Debian does.
    Debian,
    /// Debian's, with its VFIO modules built once more, with IOMMUFD, which Debian leaves out.
    Iommufd,
    /// From Debian's source, small, with VFIO in the kernel itself instead of in modules.
    BuiltIn,
}

/// All that the checks run on, in the order in which they do.
pub const ALL: [Series; 5] = [
    Series { name: "6.1", version: "6.1", suite: "bookworm", build: Build::Debian },
    Series { name: "6.1-built-in", version: "6.1", suite: "bookworm", build: Build::BuiltIn },
    Series { name: "6.12", version: "6.12", suite: "trixie", build: Build::Debian },
    Series { name: "6.12-iommufd", version: "6.12", suite: "trixie", build: Build::Iommufd },
    Series { name: "sid", version: "sid", suite: "sid", build: Build::Debian },
];

impl FromStr for Choice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let series = ALL.into_iter().find(|series| series.name == text);
        Ok(match series {
            Some(series) => Self::Series(series),
            None if text == "all" => Self::All,
            None => Self::File(text.into()),
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series(series) => f.write_str(series.name),
            Self::All => f.write_str("all"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_a_series_and_anything_else_a_file() {
        let parse = |text: &str| text.parse::<Choice>().unwrap();
        assert_eq!(parse("6.12"), Choice::Series(ALL[2]));
        assert_eq!(parse("all"), Choice::All);
        assert_eq!(parse("./sid"), Choice::File("./sid".into()));
        for text in ["6.1", "sid", "all", "/boot/vmlinuz"] {
            assert_eq!(parse(text).to_string(), text);
        }
    }
}
