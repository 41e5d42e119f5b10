//! The config of a boot whose sysexts are fetched, completed with where from: their digests are known when they are built.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::sysext::Booted;
use super::{Bench, Done, Step, Work, made};
use crate::bake::artifacts::{Artifacts, Boot};
use crate::bake::boot::BootWish;
use crate::bake::recipe::INSTALL_SYSEXTS;
use crate::base::digest::{Object, Sha256};
use crate::base::error::Result;
use crate::base::finding::{Findings, Source};
use crate::format::tree::PLAIN;
use crate::ignition;
use crate::machine::base_url::BaseUrl;
use crate::sysext::place::{KEPT, link};
use crate::tree::names::installed_id;

/// Part of step keys; raised when a completed config changes for the same inputs.
pub(crate) const REVISION: u32 = 1;

/// A config to be.
#[derive(Debug)]
struct Config<'p> {
    boot: &'p BootWish,
    /// The config of the system that the boot installs, where this is that.
    installed: Option<&'p [u8]>,
    completion: Completion<'p>,
}

/// The completion of a config: where its sysexts are fetched.
#[derive(Debug)]
struct Completion<'p> {
    /// URL of the tree.
    base_url: &'p BaseUrl,
    /// Paths of the images in the tree, by name.
    paths: BTreeMap<String, String>,
}

/// The steps that complete a boot's config, and the config of the system that it installs: they need the sysexts, since
/// the configs contain their digests.
pub(crate) fn steps<'p>(
    boot: &'p BootWish,
    base_url: &'p BaseUrl,
    booted: &Booted,
) -> impl Iterator<Item = Step<'p>> {
    let step = move |installed: Option<&'p [u8]>| {
        // To install itself, a machine needs only the sysexts for that.
        let wanted = |name: &&String| {
            boot.installed.is_none() || INSTALL_SYSEXTS.contains(&name.as_str()) != installed.is_some()
        };
        let (mut needs, mut paths) = (BTreeMap::new(), BTreeMap::new());
        for name in boot.sysexts.iter().filter(wanted) {
            let sysext = booted.of(name, boot.arch);
            needs.insert(name.clone(), sysext.key);
            paths.insert(name.clone(), sysext.path.clone());
        }
        Step::new(Config { boot, installed, completion: Completion { base_url, paths } }, needs)
    };
    let installed = boot.installed.as_deref().map(|config| step(Some(config)));
    std::iter::once(step(None)).chain(installed)
}

impl<'p> Config<'p> {
    /// The config that is to be completed.
    fn compiled(&self) -> &'p [u8] {
        self.installed.unwrap_or(&self.boot.ignition)
    }
}

impl Completion<'_> {
    /// The config with a lower layer that fetches and links these images.
    ///
    /// # Errors
    /// Bytes that are not a config; `compile` makes none such.
    fn complete(&self, config: &[u8], images: &BTreeMap<String, Object>) -> Result<Vec<u8>, Findings> {
        let source = Source::new("the compiled config", String::from_utf8_lossy(config));
        let config = ignition::Config::parse(&source)?.config;
        if images.is_empty() {
            return Ok(config.to_json().into_bytes());
        }
        let (mut files, mut links) = (Vec::new(), Vec::new());
        for (name, image) in images {
            let path = &self.paths[name];
            let file_name = path.rsplit('/').next().unwrap_or(path);
            let place = format!("{KEPT}/{name}/{file_name}");
            files.push(json!({
                "path": place,
                "mode": PLAIN,
                "contents": {
                    "source": format!("{}/{path}", self.base_url),
                    "verification": {"hash": format!("sha256-{}", image.sha256)},
                },
            }));
            links.push(json!({"path": link(name), "target": place}));
        }
        // The first spec with SHA-256; every release and Matchbox read it.
        let layer = json!({"ignition": {"version": "3.1.0"}, "storage": {"files": files, "links": links}});
        Ok(ignition::merge(ignition::Config::from_json(&layer)?, config).to_json().into_bytes())
    }
}

impl Work for Config<'_> {
    fn id(&self) -> String {
        match self.installed {
            Some(_) => format!("config/{}", installed_id(&self.boot.id)),
            None => format!("config/{}", self.boot.id),
        }
    }

    fn kind(&self) -> (&'static str, u32) {
        ("config", REVISION)
    }

    fn params(&self) -> Value {
        let Completion { base_url, paths } = &self.completion;
        json!({"base_url": base_url.to_string(), "paths": paths, "ignition": Sha256::of(self.compiled())})
    }

    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let config = self.completion.complete(self.compiled(), &bench.all_needed()?)?;
        Ok(bench.store.put(&config)?)
    }

    /// A config that waits for its build is as it was compiled.
    fn add(&self, done: &Done<'_>, artifacts: &mut Artifacts) -> Result<()> {
        let config = match done.is_built {
            true => done.bench.read(done.artifact.object)?,
            false => self.compiled().to_vec(),
        };
        match self.installed {
            // The step of the boot's own config comes before.
            Some(_) => {
                let own = artifacts.boots.iter_mut().filter(|boot| boot.id == self.boot.id);
                own.for_each(|boot| boot.installed = Some(config.clone()));
            }
            None => {
                let images = done.bench.needs.values().filter_map(|key| made(done.bench.store, key));
                let fetched = images.map(|image| image.size).sum();
                artifacts.boots.push(Boot {
                    ignition: config,
                    fetched,
                    ..Boot::of(self.boot, done.artifact)
                });
            }
        }
        Ok(())
    }

    /// Machines fetch them.
    fn holds_needs(&self) -> bool {
        false
    }

    fn merges(&self) -> Option<(&BootWish, &[u8])> {
        Some((self.boot, self.compiled()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Sha256;

    fn completed(config: &str) -> Value {
        let completion = Completion {
            base_url: &"http://10.0.0.1/tree/".parse().unwrap(),
            paths: BTreeMap::from([("hello".into(), "assets/sysext/hello/hello-1-x86-64.raw".into())]),
        };
        let image = Object { sha256: Sha256::of(b"image"), size: 5 };
        let images = BTreeMap::from([("hello".to_owned(), image)]);
        let done = completion.complete(config.as_bytes(), &images).unwrap();
        serde_json::from_slice(&done).unwrap()
    }

    #[test]
    fn a_sysext_is_fetched_with_its_digest_and_linked_under_its_name() {
        let config = completed(r#"{"ignition":{"version":"3.3.0"}}"#);
        assert_eq!(config["ignition"]["version"], "3.3.0");
        let file = &config["storage"]["files"][0];
        assert_eq!(file["contents"]["source"], "http://10.0.0.1/tree/assets/sysext/hello/hello-1-x86-64.raw");
        let hash = file["contents"]["verification"]["hash"].as_str().unwrap();
        assert_eq!(hash, format!("sha256-{}", Sha256::of(b"image")));
        let link = &config["storage"]["links"][0];
        assert_eq!(link["path"], "/etc/extensions/hello.raw");
        assert_eq!(link["target"], file["path"]);
    }

    #[test]
    fn a_layer_of_the_recipe_still_wins() {
        let masked = r#"{"ignition":{"version":"3.3.0"},"storage":{"links":[{"path":"/etc/extensions/hello.raw","target":"/dev/null","overwrite":true}]}}"#;
        let config = completed(masked);
        assert_eq!(config["storage"]["links"].as_array().unwrap().len(), 1);
        assert_eq!(config["storage"]["links"][0]["target"], "/dev/null");
    }
}
