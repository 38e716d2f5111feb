//! Certificates for servers on this machine.

use std::path::Path;
use std::process::Command;

/// Writes a self-signed certificate for 127.0.0.1 over the previous files, and returns it. The files are `cert.pem` and `key.pem`.
#[must_use]
pub fn make(folder: &Path) -> Vec<u8> {
    let elsewhere = tempfile::tempdir_in(folder).unwrap();
    let at = |name: &str| elsewhere.path().join(name);
    let config = "[req]\ndistinguished_name = name\nx509_extensions = own\nprompt = no\n[name]\nCN = localhost\n\
                  [own]\nsubjectAltName = IP:127.0.0.1\nbasicConstraints = critical,CA:FALSE\n";
    std::fs::write(at("openssl.cnf"), config).unwrap();
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    command.arg("-config").arg(at("openssl.cnf")).arg("-keyout").arg(at("key.pem")).arg("-out").arg(at("cert.pem"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    let certificate = std::fs::read(at("cert.pem")).unwrap();
    for name in ["key.pem", "cert.pem"] {
        std::fs::rename(at(name), folder.join(name)).unwrap();
    }
    certificate
}
