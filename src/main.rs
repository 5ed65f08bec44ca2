//! The `acmezone` command.
fn main() {
    let config = std::env::args().nth(3).unwrap();
    let config = match acmezone::config::Config::read(std::path::Path::new(&config)) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(2);
        }
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Err(error) = runtime.block_on(acmezone::server::run(config)) {
        eprintln!("{error}");
        std::process::exit(1);
    }
}
