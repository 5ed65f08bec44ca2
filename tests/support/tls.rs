//! A TLS client that judges what it is shown.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Connects and shakes hands with a server that has to be this host under this root; no session is resumed. An error is
/// what the client says.
pub fn tls_connect(server: SocketAddr, root_pem: &str, host: &str) -> std::io::Result<TlsStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).expect("a root in PEM")).expect("a sound root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("the provider's versions").with_root_certificates(roots).with_no_client_auth();
    let host = host.to_owned().try_into().expect("a host name");
    let connection = ClientConnection::new(Arc::new(config), host).expect("a sound configuration");
    let socket = TcpStream::connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.conn.complete_io(&mut stream.sock)?;
    Ok(stream)
}

/// The serial number of the server's certificate, hexadecimal.
pub fn serial_shown(stream: &TlsStream) -> String {
    let leaf = stream.conn.peer_certificates().and_then(|chain| chain.first()).expect("a certificate");
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).expect("a certificate");
    leaf.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect()
}
