//! The binary: everything is in the library, see `acmezone::cli`.

fn main() -> std::process::ExitCode {
    acmezone::cli::run()
}
