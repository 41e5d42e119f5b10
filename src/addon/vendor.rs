//! Fetches an add-on's manifests into a directory of the project, with a record of where they came from.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::known::{self, Known};
use super::record::{self, From, Record};
use super::{flannel, images, manifest};
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::base::finding::{Findings, MAX_TEXT, Source, meant};
use crate::source::Mirrors;
use crate::source::http::{self, Http, Options};

/// The way out where a project does not say another one.
const WAY_OUT: &str = "vendor it where there is internet, and take its directory along: no bundle has it";

/// An add-on to vendor.
#[derive(Debug)]
pub struct Wish {
    /// Name of the add-on and of its directory.
    pub name: String,
    /// Its version, without a `v`; the table's if it is absent.
    pub version: Option<String>,
    /// Where from, if not from the table.
    pub from: Option<Place>,
    /// Files of values, for charts.
    pub values: Vec<PathBuf>,
    /// Further settings of values, for charts.
    pub settings: Vec<String>,
    /// Namespace of a chart's release, if not the table's.
    pub namespace: Option<String>,
    /// The version of Kubernetes that a chart is rendered for.
    pub kubernetes: Option<String>,
    /// Network of the pods, which flannel's manifest must name.
    pub pods: Option<String>,
    /// Images that no `image:` names, beside those of the table.
    pub images: Vec<String>,
    /// The way out where it cannot be fetched, in words.
    pub way_out: String,
}

impl Wish {
    /// A wish for an add-on of the table, and for nothing else.
    pub fn of(name: &str) -> Wish {
        Wish {
            name: name.to_owned(),
            version: None,
            from: None,
            values: Vec::new(),
            settings: Vec::new(),
            namespace: None,
            kubernetes: None,
            pods: None,
            images: Vec::new(),
            way_out: WAY_OUT.to_owned(),
        }
    }
}

/// A place that a person names.
#[derive(Debug)]
pub enum Place {
    /// URLs of manifests.
    Urls(Vec<String>),
    /// Files by these names, each with its URL.
    Files(Vec<(String, String)>),
    /// `REPOSITORY/CHART`: a URL whose last part is the chart's name, or `oci://…`, or a directory or archive.
    Chart(String),
}

/// An add-on that was vendored.
#[derive(Debug)]
pub struct Vendored {
    /// The record as it was written.
    pub record: Record,
    /// All of its images.
    pub images: Vec<String>,
    /// Advice for sites that use it; empty if there is none.
    pub remark: &'static str,
}

/// An add-on that cannot be vendored.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table does not have it.
    #[error("no add-on is known by the name `{name}`")]
    Unknown {
        /// The unknown name.
        name: String,
    },
    /// A name that is no directory's.
    #[error("`{name}` cannot be the name of an add-on")]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// A file cannot be fetched.
    #[error("cannot fetch the add-on {name}")]
    Fetch {
        /// The add-on.
        name: String,
        /// That of the wish.
        way_out: String,
        /// The HTTP client's error.
        source: http::Error,
    },
    /// Mirrors of the environment.
    #[error("cannot fetch the add-on {name}: {why}")]
    Mirrors {
        /// The add-on.
        name: String,
        /// The fault in the variable, in words.
        why: String,
    },
    /// helm is not there.
    #[error("{name} is a chart, and there is no `helm` to render it")]
    NoHelm {
        /// The add-on.
        name: String,
        /// The I/O error of starting it.
        source: io::Error,
    },
    /// helm refuses.
    #[error("helm cannot render {name}: {why}")]
    Helm {
        /// The add-on.
        name: String,
        /// The last lines that it says.
        why: String,
    },
    /// The answer is no manifest.
    #[error("what was fetched for {name} is no manifest that can be applied:\n{findings}")]
    Manifest {
        /// The add-on.
        name: String,
        /// All that is wrong.
        findings: Findings,
    },
    /// A file of values, or the directory.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Fetch { source, .. } => Some(source),
            Error::Disk(source) => Some(source),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::Unknown { .. } | Error::Name { .. } => Exit::Usage,
            Error::Manifest { .. } => Exit::Config,
            _ => self.inner_exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Unknown { name } => {
                let names = known::KNOWN.iter().map(|known| known.name);
                Some(format!("{}; for others give --url or --chart", meant(name, names, "known: ")))
            }
            Error::Name { .. } => Some("small letters, digits and hyphens, as of a Kubernetes object".into()),
            Error::NoHelm { .. } => Some(
                "install helm 3 here, or render the chart elsewhere and name the file in `manifests:`".into(),
            ),
            Error::Fetch { way_out, .. } => {
                Some(self.inner_hint().map_or_else(|| way_out.clone(), |inner| format!("{inner}; {way_out}")))
            }
            _ => self.inner_hint(),
        }
    }
}

/// Fetches an add-on into `directory`, which is made if it is not there. Files of an earlier version that the record names go away.
///
/// # Errors
/// Nothing is written then.
pub async fn vendor(wish: &Wish, directory: &Path) -> Result<Vendored, Error> {
    let Wish { name, .. } = wish;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > 63 || !name.bytes().all(fits) || name.starts_with('-') {
        return Err(Error::Name { name: name.clone() });
    }
    let known = match &wish.from {
        None => Some(known::of(name).ok_or_else(|| Error::Unknown { name: name.clone() })?),
        Some(_) => None,
    };
    let version =
        wish.version.clone().or_else(|| known.map(|known| known.version.to_owned())).unwrap_or_default();
    let mut bundle = gather(wish, known, &version).await?;
    if let Some(pods) = &wish.pods
        && name == "flannel"
    {
        bundle.files.iter_mut().for_each(|(_, text)| *text = flannel::with_network(text, pods));
    }
    let all = judge(name, &bundle)?;
    write(directory, &bundle)?;
    let record = bundle.record(name, version);
    disk::write_atomic(&directory.join(record::NAME), record.text().as_bytes())?;
    Ok(Vendored { images: all, record, remark: known.map_or("", |known| known.remark) })
}

/// All that was fetched, in memory.
struct Bundle {
    files: Vec<(String, String)>,
    from: From,
    namespace: Option<String>,
    images: Vec<String>,
}

impl Bundle {
    fn record(&self, name: &str, version: String) -> Record {
        let digest = |(name, text): &(String, String)| (name.clone(), Sha256::of(text.as_bytes()));
        Record {
            name: name.to_owned(),
            version,
            from: self.from.clone(),
            namespace: self.namespace.clone(),
            images: self.images.clone(),
            files: self.files.iter().map(digest).collect(),
        }
    }
}

async fn gather(wish: &Wish, known: Option<&Known>, version: &str) -> Result<Bundle, Error> {
    let filled = |pattern: &str| pattern.replace("{v}", version);
    let of_table = known.iter().flat_map(|known| known.images).map(|image| filled(image));
    let images = of_table.chain(wish.images.iter().cloned()).collect();
    let named = match &wish.from {
        Some(Place::Files(files)) => files.as_slice(),
        _ => &[],
    };
    let (urls, chart) = match (&wish.from, known.map(|known| &known.from)) {
        (Some(Place::Urls(urls)), _) => (urls.clone(), None),
        (Some(Place::Files(files)), _) => (files.iter().map(|(_, url)| url.clone()).collect(), None),
        (Some(Place::Chart(chart)), _) => (Vec::new(), Some(chart_of(chart))),
        (None, Some(known::From::Manifests(urls))) => (urls.iter().map(|url| filled(url)).collect(), None),
        (None, Some(known::From::Chart { repository, chart, .. })) => {
            (Vec::new(), Some(((*repository).to_owned(), (*chart).to_owned())))
        }
        (None, None) => (Vec::new(), None),
    };
    let mut bundle = Bundle {
        files: Vec::new(),
        from: From::Urls(urls.clone()),
        namespace: wish.namespace.clone(),
        images,
    };
    if let Some((repository, chart)) = chart {
        let (namespace, settings) = match known.map(|known| &known.from) {
            Some(known::From::Chart { namespace, settings, .. }) => {
                (Some((*namespace).to_owned()), *settings)
            }
            _ => (None, &[][..]),
        };
        bundle.namespace = bundle.namespace.or(namespace).or_else(|| Some(wish.name.clone()));
        let settings = settings.iter().map(|text| (*text).to_owned()).chain(wish.settings.clone()).collect();
        render(wish, &mut bundle, repository, chart, version, settings)?;
    }
    let name = &wish.name;
    let mirrors = Mirrors::new(&BTreeMap::new());
    let mirrors = mirrors.map_err(|error| Error::Mirrors { name: name.clone(), why: error.to_string() })?;
    let http = Http::new(mirrors, Options::default());
    for (number, url) in urls.iter().enumerate() {
        let text = fetch(&http, wish, url).await?;
        if let Some((file, _)) = named.get(number) {
            bundle.files.push((file.clone(), text));
            continue;
        }
        let last = url.split(['?', '#']).next().unwrap_or(url).rsplit('/').next().unwrap_or_default();
        let stem = last.trim_end_matches(".yaml").trim_end_matches(".yml");
        let stem: String = stem.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
        let stem = if stem.is_empty() || stem.starts_with('.') { "manifest" } else { &stem };
        // Names in the order of the URLs: definitions come before what uses them.
        let file =
            if urls.len() == 1 { format!("{stem}.yaml") } else { format!("{:02}-{stem}.yaml", number + 1) };
        bundle.files.push((file, text));
    }
    if let Some(list) = known.and_then(|known| known.list) {
        let text = fetch(&http, wish, &filled(list)).await?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        bundle.images.extend(lines.map(str::to_owned));
    }
    Ok(bundle)
}

async fn fetch(http: &Http<'_>, Wish { name, way_out, .. }: &Wish, url: &str) -> Result<String, Error> {
    let bytes = http
        .each(url, &http.tells(url), async |url: &str, _: &mut http::Patience| -> Result<_, http::Error> {
            http.get(url, Some(MAX_TEXT as u64)).await?.bytes().await
        })
        .await
        .map_err(|source| Error::Fetch { name: name.clone(), way_out: way_out.clone(), source })?;
    String::from_utf8(bytes)
        .map_err(|_| Error::Manifest { name: name.to_owned(), findings: crate::base::finding::not_text(url) })
}

/// `https://HOST/REPOSITORY/CHART` as repository and chart; all else is one reference for helm.
fn chart_of(text: &str) -> (String, String) {
    match text.rsplit_once('/') {
        Some((repository, chart)) if text.starts_with("http") && !chart.contains(".tgz") => {
            (repository.into(), chart.into())
        }
        _ => (String::new(), text.to_owned()),
    }
}

/// Renders a chart. `lookup` finds nothing and random values differ at each run (facts: helm 3.19): the result is an input of its own,
/// pinned by its digest, and never rendered again.
fn render(
    wish: &Wish,
    bundle: &mut Bundle,
    repository: String,
    chart: String,
    version: &str,
    settings: Vec<String>,
) -> Result<(), Error> {
    let Wish { name, .. } = wish;
    let helm = |args: &[&str]| -> Result<String, Error> {
        let child = Command::new("helm").args(args).stdin(Stdio::null()).output();
        let output = child.map_err(|source| Error::NoHelm { name: name.clone(), source })?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let from = text.len().saturating_sub(2000);
            let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or_default();
            return Err(Error::Helm { name: name.clone(), why: text[from..].to_owned() });
        }
        String::from_utf8(output.stdout)
            .map_err(|_| Error::Helm { name: name.clone(), why: "what it prints is not UTF-8".into() })
    };
    let own_version = helm(&["version", "--short"])?.trim().to_owned();
    let namespace = bundle.namespace.clone().unwrap_or_default();
    let mut args =
        vec!["template", name, &chart, "--namespace", &namespace, "--include-crds", "--skip-tests"];
    if !repository.is_empty() {
        args.extend(["--repo", &repository]);
    }
    if !version.is_empty() {
        args.extend(["--version", version]);
    }
    if let Some(kubernetes) = &wish.kubernetes {
        args.extend(["--kube-version", kubernetes]);
    }
    let mut values = BTreeMap::new();
    let paths: Vec<String> = wish.values.iter().map(|path| path.display().to_string()).collect();
    for (path, text) in wish.values.iter().zip(&paths) {
        let bytes = std::fs::read(path).map_err(disk::Error::io("read", path))?;
        values.insert(text.clone(), Sha256::of(&bytes));
        args.extend(["--values", text]);
    }
    for setting in &settings {
        args.extend(["--set", setting]);
    }
    let mut text = helm(&args)?;
    if !matches!(namespace.as_str(), "kube-system" | "default") {
        text = format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {namespace}\n---\n{text}");
    }
    bundle.files.push((format!("{name}.yaml"), text));
    bundle.from = From::Chart { repository, chart, helm: own_version, settings, values };
    Ok(())
}

/// The images of what was fetched, if all of it can be applied.
fn judge(name: &str, bundle: &Bundle) -> Result<Vec<String>, Error> {
    let wrong = |findings| Error::Manifest { name: name.to_owned(), findings };
    let mut found = images::Images::new();
    let mut findings = Vec::new();
    let mut count = 0;
    for (file, text) in &bundle.files {
        for document in manifest::read(&Source::new(file.clone(), text.clone())).map_err(wrong)? {
            count += 1;
            images::of_document(&document, &mut found, &mut findings);
        }
    }
    if count == 0 {
        let finding = crate::base::finding::Finding::error("there is no object in it");
        findings.push(finding.hint("name the URL of a manifest, not of a page about it"));
    }
    let (mut all, _) = Findings::settle(findings, found.into_keys().collect::<Vec<_>>()).map_err(wrong)?;
    all.extend(bundle.images.iter().cloned());
    Ok(all)
}

fn write(directory: &Path, bundle: &Bundle) -> Result<(), Error> {
    disk::create_directories(directory)?;
    if let Ok(Some(before)) = Record::of(directory) {
        for name in before.files.keys().filter(|name| bundle.files.iter().all(|(file, _)| file != *name)) {
            let path = directory.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(disk::Error::io("remove", &path)(error).into());
                }
                _ => {}
            }
        }
    }
    for (name, text) in &bundle.files {
        disk::write_atomic(&directory.join(name), text.as_bytes())?;
    }
    Ok(())
}
