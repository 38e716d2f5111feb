//! The ways to providers: a proxy and certificates of a provider's own.

use std::sync::{Arc, Mutex};

use reqwest::StatusCode;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tests::arouter::{program, repository};
use tests::{Arouter, Provider, Storage, certificate};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// `team:p@ss` in base64.
const CREDENTIALS: &str = "Basic dGVhbTpwQHNz\r\n";

/// A proxy that tunnels to one address, whatever it is asked for, and records the heads of its requests.
struct Proxy {
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Proxy {
    async fn start(to: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&heads);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut tunnels = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let seen = Arc::clone(&seen);
                tunnels.spawn(async move {
                    let mut client = BufReader::new(client);
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") && client.read_line(&mut head).await.unwrap() > 0 {}
                    let is_known = head.contains(CREDENTIALS);
                    seen.lock().unwrap().push(head.to_lowercase());
                    if !is_known {
                        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                        return;
                    }
                    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let mut provider = TcpStream::connect(to).await.unwrap();
                    let _closed = copy_bidirectional(&mut client, &mut provider).await;
                });
            }
        });
        Self { address, heads, _serving: serving }
    }
}

fn ask() -> serde_json::Value {
    json!({"model": "inside/ok", "messages": [{"role": "user", "content": "hi"}]})
}

fn config(base_url: &str, more: &str) -> String {
    format!(
        "[[providers]]\nslug = \"inside\"\nbase_url = \"{base_url}\"\n{more}\n[[models]]\nid = \"inside/ok\"\nprovider = \"inside\"\n\
         upstream_model = \"ok\"\nprompt_usd_per_mtok = \"1\"\ncompletion_usd_per_mtok = \"2\"\ncontext_length = 1000\n"
    )
}

#[tokio::test]
async fn a_provider_is_reached_through_its_proxy_and_no_other_way() {
    let provider = Provider::start().await;
    let proxy = Proxy::start(provider.address).await;
    // Only the proxy knows the name.
    let base_url = "http://provider.invalid/v1";
    let url = format!("proxy_url = \"http://team:p%40ss@{}\"", proxy.address);
    let mut arouter = Arouter::start(Storage::Sqlite, &config(base_url, &url)).await;
    let (status, answer) = arouter.chat(ask()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mut streamed = ask();
    streamed["stream"] = json!(true);
    let (status, _) = arouter.chat(streamed).await;
    assert_eq!(status, StatusCode::OK);
    let heads = proxy.heads.lock().unwrap().clone();
    assert_eq!(heads.len(), 1, "the connection is kept: {heads:?}");
    assert!(heads[0].starts_with("connect provider.invalid:80 http/1.1\r\n"), "{heads:?}");
    assert!(!heads[0].contains("authorization: bearer"), "the proxy sees no credential of the provider: {heads:?}");
    arouter.settle_and_verify().await;

    // A proxy that refuses is no answer of the provider.
    let wrong = format!("proxy_url = \"http://team:wrong@{}\"", proxy.address);
    let mut arouter = Arouter::start(Storage::Sqlite, &config(base_url, &wrong)).await;
    let (status, answer) = arouter.chat(ask()).await;
    assert!(status.is_server_error(), "{status} {answer}");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn certificates_of_a_provider_are_trusted_for_it_alone() {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let provider = Provider::start().await;
    let files = tempfile::tempdir().unwrap();
    let _made = certificate::make(files.path());
    let at = |name: &str| files.path().join(name);
    let chain = CertificateDer::pem_file_iter(at("cert.pem")).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(at("key.pem")).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}/v1", listener.local_addr().unwrap());
    let to = provider.address;
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut provider = TcpStream::connect(to).await.unwrap();
                let _closed = copy_bidirectional(&mut client, &mut provider).await;
            });
        }
    });
    let trusted = format!("ca_file = \"{}\"", at("cert.pem").display());
    // Another provider at the same address does not get the first one's certificates.
    let other = config(&base_url, "").replace("inside", "outside");
    let mut arouter = Arouter::start(Storage::Sqlite, &format!("{}{other}", config(&base_url, &trusted))).await;
    let (status, answer) = arouter.chat(ask()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let mut elsewhere = ask();
    elsewhere["model"] = json!("outside/ok");
    let (status, answer) = arouter.chat(elsewhere).await;
    assert!(status.is_server_error(), "{status} {answer}");
    arouter.settle_and_verify().await;
}

#[tokio::test]
async fn a_way_that_cannot_be_is_refused_at_the_start() {
    let provider = Provider::start().await;
    let mut arouter = Arouter::start(Storage::Sqlite, &provider.config()).await;
    arouter.stop();
    let none = arouter.data().join("none.pem");
    let text = arouter.data().join("text.pem");
    std::fs::write(&text, "no certificate").unwrap();
    for (more, words) in [
        ("proxy_url = \"socks5://127.0.0.1:1\"".to_owned(), "proxy_url is no http://HOST:PORT"),
        ("proxy_url_env = \"NOT_SET_ANYWHERE\"".to_owned(), "NOT_SET_ANYWHERE is not set"),
        (format!("ca_file = \"{}\"", none.display()), "none.pem"),
        (format!("ca_file = \"{}\"", text.display()), "name a file with certificates in PEM"),
    ] {
        let file = arouter.data().join("bad.toml");
        std::fs::write(&file, config("http://127.0.0.1:1/v1", &more)).unwrap();
        let mut command = std::process::Command::new(program());
        command.env("AROUTER_SERVER__LISTEN", "127.0.0.1:0").current_dir(repository());
        let output = command.arg("up").arg("--config").arg(file).arg("--data").arg(arouter.data()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(words), "{error}");
    }
}
