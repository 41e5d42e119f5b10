//! From the text of a kubeconfig to a client, and from a failed request to words that name the cause.

use std::error::Error as StdError;
use std::io;
use std::iter;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls;

use crate::base::error::{Advice, Exit};
use crate::trust::tls::Distrust;

/// How long a connection may take to be made. On the network of a cluster it is there at once or not at all.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may be silent. A watch is ended by the server after 290 s at the latest (kube-runtime), so anything below that
/// would cut every quiet one.
const SILENCE: Duration = Duration::from_secs(295);
/// A proxy that stands for none: kube takes `HTTPS_PROXY` from the environment for a cluster that names no proxy of its own, and
/// refuses the kubeconfig if that is no URL.
const NO_PROXY: &str = "http://none.invalid";

/// A cluster's API server as a kubeconfig names it, with what proves that we may ask. Nothing is connected yet.
#[derive(Clone)]
pub struct Connection {
    config: Config,
    /// The certificate by which it knows us, in PEM; `None` if it knows us by a token.
    certificate: Option<Vec<u8>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.server())
    }
}

/// A kubeconfig that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is none.
    #[error("{name} is no kubeconfig")]
    Text {
        /// File name.
        name: String,
        /// The problem.
        source: kube::config::KubeconfigError,
    },
    /// It asks for a proxy.
    #[error("{name} reaches its cluster through the proxy {proxy}, which is not supported")]
    Proxy {
        /// File name.
        name: String,
        /// The proxy.
        proxy: String,
    },
    /// Its keys or certificates cannot be used.
    #[error("{name}: its keys and certificates cannot be used")]
    Client {
        /// File name.
        name: String,
        /// The problem.
        source: kube::Error,
    },
    /// The API server did not do what was asked.
    #[error("{server}: {}", trouble.why)]
    Asked {
        /// URL of the API server.
        server: String,
        /// The kind of failure.
        trouble: Trouble,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Asked { trouble, .. } if trouble.is_network => Exit::Network,
            Error::Asked { .. } => Exit::Failed,
            _ => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Text { .. } => {
                Some("`kubectl --kubeconfig FILE config view` shows how kubectl reads it".into())
            }
            Error::Proxy { .. } => {
                Some("take `proxy-url` out, and run this where the API server is reached directly".into())
            }
            Error::Client { .. } => {
                Some("`prebake cluster generate` writes one for a cluster of its own".into())
            }
            Error::Asked { trouble, .. } => trouble.hint.clone(),
        }
    }
}

impl Connection {
    /// The cluster of the kubeconfig's current context; `name` is its file's name.
    ///
    /// # Errors
    /// The text is no kubeconfig, or names keys that are not there or cannot be read.
    pub async fn new(name: &str, text: &str) -> Result<Connection, Error> {
        let told = |source| Error::Text { name: name.to_owned(), source };
        let mut kubeconfig = Kubeconfig::from_yaml(text).map_err(told)?;
        let current = kubeconfig.current_context.clone();
        let context = kubeconfig.contexts.iter().find(|context| Some(&context.name) == current.as_ref());
        let cluster =
            context.and_then(|context| context.context.as_ref()).map(|context| context.cluster.clone());
        for named in &mut kubeconfig.clusters {
            let Some(inner) = named.cluster.as_mut() else { continue };
            match inner.proxy_url.as_deref().filter(|proxy| !proxy.is_empty()) {
                Some(proxy) if Some(&named.name) == cluster.as_ref() => {
                    return Err(Error::Proxy { name: name.to_owned(), proxy: proxy.to_owned() });
                }
                _ => inner.proxy_url = Some(NO_PROXY.to_owned()),
            }
        }
        // Paths are relative to the kubeconfig, as in kubectl.
        let directory = Path::new(name).parent().unwrap_or(Path::new(""));
        let settle = |path: &mut Option<String>| {
            if let Some(path) = path.as_mut().filter(|path| !path.is_empty()) {
                *path = directory.join(&*path).display().to_string();
            }
        };
        for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            settle(&mut cluster.certificate_authority);
        }
        for user in kubeconfig.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
            settle(&mut user.client_certificate);
            settle(&mut user.client_key);
            settle(&mut user.token_file);
        }
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(told)?;
        config.proxy_url = None;
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(SILENCE);
        config.reset_reader_on_write = true;
        let user = &config.auth_info;
        let data = user.client_certificate_data.as_deref().and_then(|data| STANDARD.decode(data.trim()).ok());
        let certificate = data.or_else(|| std::fs::read(user.client_certificate.as_deref()?).ok());
        let connection = Connection { config, certificate };
        // Keys that cannot be used are found now, not at the first request.
        connection.client().map_err(|source| Error::Client { name: name.to_owned(), source })?;
        Ok(connection)
    }

    /// URL of the API server.
    pub fn server(&self) -> String {
        self.config.cluster_url.to_string().trim_end_matches('/').to_owned()
    }

    /// A client with connections of its own: after a loss, those of the one before may be dead without knowing it.
    pub(super) fn client(&self) -> Result<Client, kube::Error> {
        Client::try_from(self.config.clone())
    }

    /// The certificate by which the cluster knows us, in PEM.
    pub(super) fn client_certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    /// The kubeconfig's settings.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// A failed request as an error of this room.
    pub(super) fn failed(&self, error: &kube::Error) -> Error {
        Error::Asked { server: self.server(), trouble: Trouble::of(error) }
    }
}

/// The cause of a failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The cause, in words.
    pub why: String,
    /// The way out, if there is one that depends on the cause.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Whether nothing answered, so that it may be otherwise soon.
    pub is_network: bool,
    /// Whether the server, or we, do not believe who the other is.
    pub is_refusal: bool,
}

impl Trouble {
    fn network(why: impl Into<String>, hint: &str) -> Trouble {
        Trouble { why: why.into(), hint: Some(hint.to_owned()), is_network: true, is_refusal: false }
    }

    /// A silent API server.
    pub(super) fn silent(patience: Duration) -> Trouble {
        let patience = humantime::format_duration(patience);
        Trouble::network(format!("it does not answer within {patience}"), SILENT)
    }

    /// The words for an error of kube, whose own say only `client error (Connect)`.
    pub(super) fn of(error: &(dyn StdError + 'static)) -> Trouble {
        for cause in causes(error) {
            if let Some(trouble) = Trouble::of_cause(cause) {
                return trouble;
            }
        }
        let last = causes(error).last().map(ToString::to_string).unwrap_or_default();
        let is_network = causes(error).any(|cause| cause.is::<io::Error>());
        Trouble { why: last, hint: None, is_network, is_refusal: false }
    }

    /// The words for one link of the chain, if it is one that says something.
    fn of_cause(cause: &(dyn StdError + 'static)) -> Option<Trouble> {
        // The source of an error of the API is the box that it is in.
        let boxed = cause.downcast_ref::<Box<kube::core::Status>>().map(|status| &**status);
        if let Some(status) = boxed.or_else(|| cause.downcast_ref()) {
            return Some(Trouble::of_status(status));
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(Trouble::of_tls(tls));
        }
        if cause.to_string().contains("failed to lookup address") {
            return Some(Trouble::network(
                "its name has no address here",
                "name the API server by its address in the kubeconfig, or make the name known in /etc/hosts",
            ));
        }
        // An error that only wraps another one is said by that one.
        let io = cause
            .downcast_ref::<io::Error>()
            .filter(|io| io.get_ref().is_none() || io.raw_os_error().is_some());
        let kind = io.map(io::Error::kind).or_else(|| {
            let wraps = cause.downcast_ref::<io::Error>()?;
            matches!(wraps.kind(), io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof)
                .then(|| wraps.kind())
        })?;
        Some(match kind {
            io::ErrorKind::ConnectionRefused => Trouble::network(
                "the connection is refused",
                "the machine is up and no API server listens there (yet): `prebake logs --mac NODE` shows how far it is, \
                 `crictl ps -a` on it whether kube-apiserver runs",
            ),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Trouble::network(
                "there is no route to it",
                "no machine has that address (yet), or this host is not on its network: look at `ip route get ADDRESS` and, for a \
                 shared address, at kube-vip on the controllers",
            ),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                Trouble::network("it does not answer", SILENT)
            }
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Trouble::network(
                "the connection was closed",
                "the API server ends or restarts; it is asked again",
            ),
            _ => return None,
        })
    }

    fn of_tls(error: &rustls::Error) -> Trouble {
        use rustls::CertificateError as Bad;
        let rustls::Error::InvalidCertificate(why) = error else {
            let why = format!("TLS fails: {error}");
            let hint = matches!(error, rustls::Error::InvalidMessage(_))
                .then(|| "something else than an API server may listen there".to_owned());
            return Trouble { why, hint, is_network: false, is_refusal: true };
        };
        let Distrust { why: words, hint } = Distrust::because(why);
        let is_clock = matches!(
            why,
            Bad::Expired | Bad::NotValidYet | Bad::ExpiredContext { .. } | Bad::NotValidYetContext { .. }
        );
        let is_name = matches!(why, Bad::NotValidForName | Bad::NotValidForNameContext { .. });
        let hint = match () {
            () if is_clock => hint,
            () if is_name => "ask for the API server by a name or address that its certificate has (`certSANs` of kubeadm)".into(),
            () => "this kubeconfig is of another cluster, or the cluster was made anew: take the kubeconfig that was made with it".into(),
        };
        Trouble {
            why: format!("its certificate is not trusted: {words}"),
            hint: Some(hint),
            is_network: false,
            is_refusal: true,
        }
    }

    fn of_status(status: &kube::core::Status) -> Trouble {
        let hint = match status.code {
            401 => Some(
                "the kubeconfig's certificate or token is expired, or of another cluster; `prebake cluster generate` writes a fresh one \
                 while the cluster's keys are at hand",
            ),
            403 => Some("take the administrator's kubeconfig"),
            _ => None,
        };
        // The words of kube for an answer that is no document of Kubernetes.
        let is_foreign = status.reason == "Failed to parse error data";
        let why = match (status.code, status.message.trim()) {
            (401, _) => "it does not accept the kubeconfig's credentials".to_owned(),
            (code, _) if is_foreign && code < 500 => {
                format!("something else than an API server answers there, with {code}")
            }
            (code, "") => format!("it answers {code} {}", status.reason),
            (_, message) => message.split_whitespace().collect::<Vec<_>>().join(" "),
        };
        let is_network = matches!(status.code, 500 | 502 | 503 | 504 | 429);
        Trouble { why, hint: hint.map(str::to_owned), is_network, is_refusal: status.code == 401 }
    }
}

/// The way out if an address swallows requests.
const SILENT: &str = "the machine that has this address is off, hangs, or a firewall drops the packets: look at `prebake status`, and \
    for a shared address at kube-vip on the controllers";

/// An error and all that it comes from. `io::Error::source` skips the error that it holds, so that is looked at first.
fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    iter::successors(Some(error), |&error| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}
