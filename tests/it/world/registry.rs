//! A small container registry on the loopback: the pull half of the distribution API, logins, and faults on demand.
//!
//! Plain threads, and nothing of the product's own registry code.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, write::GzEncoder};
use prebake::base::digest::Sha256;
use serde_json::{Value, json};

/// The token that the token service grants.
pub const TOKEN: &str = "granted-token-s3cr3t";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How a registry wants to be asked.
#[derive(Clone, Default)]
pub enum Login {
    /// By anyone.
    #[default]
    None,
    /// With HTTP Basic.
    Basic { user: &'static str, password: &'static str },
    /// With a token, for which the token service wants these, or nothing.
    Bearer { user: Option<(&'static str, &'static str)> },
    /// With a token, which an identity token gets.
    Identity { token: &'static str },
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// With the query.
    pub target: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `Accept` header.
    pub accept: Option<String>,
    /// The first and last byte of the `Range` header.
    pub range: Option<(usize, usize)>,
    /// How many requests for this target came before.
    pub earlier: usize,
    /// What was posted.
    pub body: String,
}

/// What goes wrong with one answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status and an empty body.
    Status(u16),
    /// These bytes instead, under the digest of the right ones.
    Body(Vec<u8>),
    /// The body ends here, though its length was announced.
    Truncate(usize),
    /// Look there.
    Redirect(String),
    /// The challenge of a 401, whatever the login.
    Challenge(String),
    /// The login counts no more.
    Expired,
    /// This status, these headers and this body. `{self}` in them is the registry's own URL.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These headers beside the right ones.
    Headers(Vec<(&'static str, String)>),
    /// Packed with gzip, and said to be.
    Gzip,
}

type Hook = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

/// What to hold, before it is asked.
#[derive(Default)]
pub struct Builder {
    manifests: BTreeMap<String, (String, Vec<u8>)>,
    blobs: BTreeMap<String, Vec<u8>>,
    login: Login,
    hook: Option<Box<Hook>>,
    env: Vec<String>,
}

/// What an image holds: paths and contents.
pub type Files<'f> = Vec<(&'f str, &'f [u8])>;

/// Digests of an image that was pushed, as `sha256:…`.
#[derive(Clone, Debug, Default)]
pub struct Pushed {
    /// The index.
    pub index: String,
    /// Architecture → manifest.
    pub manifests: BTreeMap<String, String>,
    /// Architecture → config.
    pub configs: BTreeMap<String, String>,
    /// Architecture → layers.
    pub layers: BTreeMap<String, Vec<String>>,
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::of(bytes))
}

/// A layer of one file: the compressed bytes, and the digest of the tar in them.
pub fn layer(path: &str, contents: &[u8]) -> (Vec<u8>, String) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(contents.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, path, contents).unwrap();
    let tar = tar.into_inner().unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar).unwrap();
    (gzip.finish().unwrap(), digest(&tar))
}

impl Builder {
    /// Wants a login.
    pub fn login(mut self, login: Login) -> Self {
        self.login = login;
        self
    }

    /// Images that are held from now on have this variable.
    pub fn env(mut self, variable: String) -> Self {
        self.env.push(variable);
        self
    }

    /// Asked before every answer.
    pub fn faults(mut self, hook: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// Holds a document under a name and a tag or digest.
    pub fn document(&mut self, repository: &str, object: &str, media_type: &str, bytes: &[u8]) -> String {
        let digest = digest(bytes);
        for object in [object, &digest] {
            self.manifests.insert(format!("{repository}/{object}"), (media_type.into(), bytes.into()));
        }
        digest
    }

    /// Holds a blob.
    pub fn blob(&mut self, bytes: Vec<u8>) -> Value {
        let descriptor = json!({"digest": digest(&bytes), "size": bytes.len()});
        self.blobs.insert(digest(&bytes), bytes);
        descriptor
    }

    /// The manifest of an image for one architecture; its digest is noted in `pushed`.
    pub fn manifest(&mut self, arch: &str, files: &[(&str, &[u8])], pushed: &mut Pushed) -> Vec<u8> {
        let layers: Vec<(Vec<u8>, String)> = files.iter().map(|(path, bytes)| layer(path, bytes)).collect();
        let diff_ids: Vec<&String> = layers.iter().map(|(_, diff_id)| diff_id).collect();
        let mut config = json!({
            "os": "linux", "architecture": arch, "config": {"Entrypoint": ["/pause"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        if !self.env.is_empty() {
            config["config"]["Env"] = json!(self.env);
        }
        let with = |mut descriptor: Value, media_type: &str| {
            descriptor["mediaType"] = json!(media_type);
            descriptor
        };
        let config =
            with(self.blob(config.to_string().into_bytes()), "application/vnd.oci.image.config.v1+json");
        let layers: Vec<Value> = layers
            .into_iter()
            .map(|(bytes, _)| with(self.blob(bytes), "application/vnd.oci.image.layer.v1.tar+gzip"))
            .collect();
        let text = |value: &Value| value["digest"].as_str().unwrap().to_owned();
        pushed.configs.insert(arch.into(), text(&config));
        pushed.layers.insert(arch.into(), layers.iter().map(text).collect());
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let bytes = manifest.to_string().into_bytes();
        pushed.manifests.insert(arch.into(), digest(&bytes));
        bytes
    }

    /// Holds an image for several architectures under a tag: an index, and a manifest for each.
    pub fn push(&mut self, repository: &str, tag: &str, archs: &[&str]) -> Pushed {
        let pause = |arch: &&str| format!("pause of {repository} for {arch}");
        let pauses: Vec<String> = archs.iter().map(pause).collect();
        let files = |pause| vec![("base", &b"the same everywhere"[..]), ("pause", str::as_bytes(pause))];
        let images: Vec<_> = archs.iter().zip(&pauses).map(|(arch, pause)| (*arch, files(pause))).collect();
        self.push_files(repository, tag, &images)
    }

    /// Holds an image of these files for each architecture under a tag, each file a layer, and an index.
    pub fn push_files(&mut self, repository: &str, tag: &str, images: &[(&str, Files<'_>)]) -> Pushed {
        let mut pushed = Pushed::default();
        let mut entries = Vec::new();
        for (arch, files) in images {
            let bytes = self.manifest(arch, files, &mut pushed);
            let digest = self.document(repository, "", MANIFEST, &bytes);
            let platform = json!({"os": "linux", "architecture": arch});
            entries.push(
                json!({"mediaType": MANIFEST, "digest": digest, "size": bytes.len(), "platform": platform}),
            );
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
        pushed.index = self.document(repository, tag, INDEX, index.to_string().as_bytes());
        pushed
    }

    /// Holds an image for one architecture under a tag, without an index.
    pub fn push_single(&mut self, repository: &str, tag: &str, arch: &str) -> Pushed {
        let mut pushed = Pushed::default();
        let bytes = self.manifest(arch, &[("pause", b"alone")], &mut pushed);
        self.document(repository, tag, MANIFEST, &bytes);
        pushed
    }

    /// Starts to answer, on a port that is free.
    pub fn start(self) -> Registry {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let held =
            Held { builder: self, address, requests: Mutex::default(), stopped: AtomicBool::new(false) };
        let held = Arc::new(held);
        let accepting = Arc::clone(&held);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let held = Arc::clone(&accepting);
                // An error here is a client that went away.
                thread::spawn(move || held.converse(stream));
            }
        });
        Registry { address, held }
    }
}

/// A registry that answers until it is dropped.
pub struct Registry {
    address: SocketAddr,
    held: Arc<Held>,
}

impl Registry {
    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.held.requests.lock().unwrap().clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.held.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

struct Held {
    builder: Builder,
    address: SocketAddr,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn status(status: u16) -> Self {
        Answer { status, headers: Vec::new(), body: Vec::new() }
    }
}

impl Held {
    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut output = stream.try_clone()?;
        let mut input = BufReader::new(stream);
        while let Some(mut request) = read_request(&mut input)? {
            let fault = {
                let mut requests = self.requests.lock().unwrap();
                request.earlier = requests.iter().filter(|other| other.target == request.target).count();
                requests.push(request.clone());
                self.builder.hook.as_ref().and_then(|hook| hook(&request))
            };
            if matches!(fault, Some(Fault::Expired)) {
                request.authorization = None;
            }
            let mut answer = self.answer(&request);
            let mut sent = usize::MAX;
            match fault {
                None | Some(Fault::Expired) => {}
                Some(Fault::Status(status)) => answer = Answer::status(status),
                Some(Fault::Body(body)) => answer.body = body,
                Some(Fault::Truncate(at)) => sent = at,
                Some(Fault::Redirect(to)) => {
                    answer = Answer { status: 307, headers: vec![("Location", to)], body: Vec::new() };
                }
                Some(Fault::Answer(status, headers, body)) => {
                    let own = |text: String| text.replace("{self}", &format!("http://{}", self.address));
                    let headers = headers.into_iter().map(|(name, value)| (name, own(value))).collect();
                    answer = Answer { status, headers, body };
                }
                Some(Fault::Headers(headers)) => {
                    answer.headers.retain(|(name, _)| headers.iter().all(|(other, _)| other != name));
                    answer.headers.extend(headers);
                }
                Some(Fault::Gzip) => {
                    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
                    packer.write_all(&answer.body)?;
                    answer.body = packer.finish()?;
                    answer.headers.push(("Content-Encoding", "gzip".into()));
                }
                Some(Fault::Challenge(challenge)) => {
                    answer = Answer::status(401);
                    answer.headers.push(("WWW-Authenticate", challenge));
                }
            }
            let truncated = sent < answer.body.len();
            let length = answer.body.len();
            let mut head = format!("HTTP/1.1 {} -\r\nContent-Length: {length}\r\n", answer.status);
            for (name, value) in answer.headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            output.write_all(head.as_bytes())?;
            output.write_all(if truncated { &answer.body[..sent] } else { &answer.body })?;
            if truncated {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> Answer {
        let path = request.target.split('?').next().unwrap_or_default();
        if path == "/token" {
            return self.token(request);
        }
        if let Some(challenge) = self.challenge(request) {
            let mut answer = Answer::status(401);
            answer.headers.push(("WWW-Authenticate", challenge));
            return answer;
        }
        let path = path.strip_prefix("/v2/").unwrap_or_default();
        if let Some((repository, object)) = path.split_once("/manifests/") {
            let Some((kind, bytes)) = self.builder.manifests.get(&format!("{repository}/{object}")) else {
                return Answer::status(404);
            };
            let headers = vec![("Content-Type", kind.clone()), ("Docker-Content-Digest", digest(bytes))];
            return Answer { status: 200, headers, body: bytes.clone() };
        }
        let blob = path.split_once("/blobs/").and_then(|(_, digest)| self.builder.blobs.get(digest));
        match (blob, request.range) {
            (None, _) => Answer::status(404),
            (Some(bytes), Some((first, last))) if first < bytes.len() => {
                let end = (last + 1).min(bytes.len());
                let part = format!("bytes {first}-{}/{}", end - 1, bytes.len());
                Answer {
                    status: 206,
                    headers: vec![("Content-Range", part)],
                    body: bytes[first..end].to_vec(),
                }
            }
            (Some(bytes), _) => Answer { status: 200, headers: Vec::new(), body: bytes.clone() },
        }
    }

    /// The challenge that a request must be answered with, unless it is allowed in.
    fn challenge(&self, request: &Request) -> Option<String> {
        let (challenge, right) = match &self.builder.login {
            Login::None => return None,
            Login::Basic { user, password } => ("Basic realm=\"registry\"".to_owned(), basic(user, password)),
            Login::Bearer { .. } | Login::Identity { .. } => {
                let realm = format!("http://{}/token", self.address);
                let scope = "repository:x:pull";
                (
                    format!("Bearer realm=\"{realm}\",service=\"registry\",scope=\"{scope}\""),
                    format!("Bearer {TOKEN}"),
                )
            }
        };
        (request.authorization.as_ref() != Some(&right)).then_some(challenge)
    }

    fn token(&self, request: &Request) -> Answer {
        let granted = match &self.builder.login {
            Login::Bearer { user: None } => request.authorization.is_none(),
            Login::Bearer { user: Some((user, password)) } => {
                request.authorization.as_ref() == Some(&basic(user, password))
                    && request.target.contains("service=registry")
                    && request.target.contains("scope=repository%3Ax%3Apull")
            }
            Login::Identity { token } => {
                request.body.contains("grant_type=refresh_token")
                    && request.body.contains(&format!("refresh_token={token}"))
            }
            Login::None | Login::Basic { .. } => false,
        };
        match granted {
            true => {
                let body = json!({"token": TOKEN, "expires_in": 300}).to_string().into_bytes();
                Answer { status: 200, headers: Vec::new(), body }
            }
            false => Answer::status(401),
        }
    }
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn read_request(input: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let Some(target) = line.split_whitespace().nth(1).map(str::to_owned) else { return Ok(None) };
    let mut request =
        Request { target, authorization: None, accept: None, range: None, earlier: 0, body: String::new() };
    let mut length = 0;
    loop {
        let mut header = String::new();
        input.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "authorization" => request.authorization = Some(value.into()),
            "accept" => request.accept = Some(value.into()),
            "range" => {
                let range = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
                request.range =
                    range.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            }
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    io::Read::read_exact(input, &mut body)?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}
