//! Running programs, with errors that name the program and say what it said.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Runs `command` to its end and returns what it wrote to stdout. Fails where it fails, with its stderr.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(output.stdout)
}

/// Like [`output`], as text.
pub fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?).into_owned())
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            match word.contains(|c: char| c.is_whitespace() || "'\"$\\*;&|<>()".contains(c)) {
                true => format!("'{}'", word.replace('\'', r"'\''")),
                false => word.into_owned(),
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Where `program` is, looking in `PATH` and in the folders of system programs that an ordinary user's `PATH` lacks.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_named_with_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh -c 'echo no luck >&2; exit 3'"), "{error}");
        assert!(error.contains("no luck") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = output(&mut Command::new("vfiod-no-such-program")).unwrap_err().to_string();
        assert!(error.contains("vfiod-no-such-program"), "{error}");
        assert_eq!(find("vfiod-no-such-program"), None);
    }
}
