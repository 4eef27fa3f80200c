//! The binary `vfiod`; everything is in the library.

fn main() -> std::process::ExitCode {
    vfiod::cli::main()
}
