//! The key `sops` of an encrypted file: what opens it, and which of its leaves are sealed.

use std::io::Read;
use std::sync::Arc;

use regex::Regex;
use zeroize::Zeroizing;

use super::PIPE;
use super::identities::Identities;
use super::leaf::Sealed;
use crate::base::finding::{Finding, Place, Source};
use crate::base::yaml::{Kind, Node};

/// The key that it is under.
pub(super) const KEY: &str = "sops";

/// Other holders of the data key, with their names for people.
const OTHERS: [(&str, &str); 7] = [
    ("kms", "AWS KMS"),
    ("gcp_kms", "Google Cloud KMS"),
    ("azure_kv", "Azure Key Vault"),
    ("hc_vault", "Vault"),
    ("pgp", "PGP"),
    ("hckms", "Huawei Cloud KMS"),
    ("barbican", "Barbican"),
];

/// Longest pattern that is compiled, in bytes: a file decides what it is.
const LONGEST_PATTERN: usize = 1 << 20;

pub(super) struct Metadata {
    /// The data key, sealed for each recipient: the recipient and the armored file of age.
    age: Vec<(String, String)>,
    /// Names of other holders of the data key.
    others: Vec<&'static str>,
    mac: Sealed,
    pub mac_place: Place,
    modified: String,
    pub only_encrypted: bool,
    rules: Vec<Rule>,
    place: Place,
}

/// One of the rules by which SOPS chooses leaves. The last one that is there decides.
enum Rule {
    UnencryptedSuffix(String),
    EncryptedSuffix(String),
    UnencryptedPattern(Regex),
    EncryptedPattern(Regex),
}

impl Metadata {
    /// Reads it.
    ///
    /// # Errors
    /// A key that is missing, or whose meaning prebake does not follow.
    pub fn read(node: &Node, source: &Arc<Source>) -> Result<Metadata, Finding> {
        let place = node.place(source);
        let text = |key: &str| {
            node.get(key)
                .filter(|node| !node.is_null())
                .and_then(Node::scalar)
                .filter(|text| !text.is_empty())
        };
        let missing = |key: &str| {
            Finding::error(format!("`sops` has no sound `{key}`"))
                .at(node.get(key).map_or(place.clone(), |node| node.place(source)))
                .hint("undo the change, and change encrypted files with `sops edit FILE` alone")
        };
        for key in ["unencrypted_comment_regex", "encrypted_comment_regex"] {
            if text(key).is_some() {
                let finding = Finding::error(format!(
                    "prebake does not open files whose leaves are chosen by comments (`{key}`)"
                ));
                return Err(finding.at(place).hint(PIPE));
            }
        }
        let items = |node: Option<&Node>| match node.map(|node| &node.kind) {
            Some(Kind::Sequence(items)) => items.clone(),
            _ => Vec::new(),
        };
        let groups = items(node.get("key_groups"));
        if groups.len() > 1 || text("shamir_threshold").is_some_and(|count| !matches!(count, "0" | "1")) {
            let finding = Finding::error(
                "the file's data key is divided between groups of keys (`shamir_threshold`), which prebake does not put together",
            );
            return Err(finding.at(place).hint(PIPE));
        }
        let holder = groups.first().unwrap_or(node);
        let sealed = items(holder.get("age"));
        let age = sealed.iter().filter_map(|item| {
            let text = |key: &str| item.get(key).and_then(Node::scalar).map(str::to_owned);
            Some((text("recipient").unwrap_or_default(), text("enc")?))
        });
        let others =
            OTHERS.iter().filter(|(key, _)| !items(holder.get(key)).is_empty()).map(|(_, name)| *name);
        let pattern = |key: &'static str| match text(key) {
            None => Ok(None),
            Some(pattern) => match regex::RegexBuilder::new(pattern).size_limit(LONGEST_PATTERN).build() {
                Ok(pattern) => Ok(Some(pattern)),
                Err(_) => {
                    Err(Finding::error(format!("`{key}` is not a regular expression")).at(place.clone()))
                }
            },
        };
        let rules = [
            text("unencrypted_suffix").map(|suffix| Rule::UnencryptedSuffix(suffix.to_owned())),
            text("encrypted_suffix").map(|suffix| Rule::EncryptedSuffix(suffix.to_owned())),
            pattern("unencrypted_regex")?.map(Rule::UnencryptedPattern),
            pattern("encrypted_regex")?.map(Rule::EncryptedPattern),
        ];
        Ok(Metadata {
            age: age.collect(),
            others: others.collect(),
            mac: text("mac").and_then(|text| text.parse().ok()).ok_or_else(|| missing("mac"))?,
            mac_place: node.get("mac").map_or(place.clone(), |node| node.place(source)),
            modified: text("lastmodified").ok_or_else(|| missing("lastmodified"))?.to_owned(),
            only_encrypted: text("mac_only_encrypted") == Some("true"),
            rules: rules.into_iter().flatten().collect(),
            place,
        })
    }

    /// Whether the leaf at this path is sealed, by `shouldBeEncrypted` of SOPS.
    pub fn is_sealed(&self, path: &[String]) -> bool {
        let any = |fits: &dyn Fn(&str) -> bool| path.iter().any(|key| fits(key));
        self.rules.iter().fold(true, |sealed, rule| match rule {
            Rule::UnencryptedSuffix(suffix) => sealed && !any(&|key| key.ends_with(suffix.as_str())),
            Rule::EncryptedSuffix(suffix) => any(&|key| key.ends_with(suffix.as_str())),
            Rule::UnencryptedPattern(pattern) => sealed && !any(&|key| pattern.is_match(key)),
            Rule::EncryptedPattern(pattern) => any(&|key| pattern.is_match(key)),
        })
    }

    /// The MAC that the file has, in clear text.
    pub fn mac(&self, key: &[u8; 32]) -> Result<Zeroizing<String>, Finding> {
        let leaf = self.mac.open(key, &self.modified).map_err(|why| {
            Finding::error(format!("the file's MAC is not as SOPS left it: {why}")).at(self.mac_place.clone())
        })?;
        Ok(Zeroizing::new(leaf.text))
    }

    /// The key of the leaves.
    ///
    /// # Errors
    /// Nothing at hand opens it.
    pub fn data_key(&self, identities: &Identities) -> Result<Zeroizing<[u8; 32]>, Finding> {
        let fail = |text: String| Finding::error(text).at(self.place.clone());
        if self.age.is_empty() {
            let by = match self.others.as_slice() {
                [] => "nobody".to_owned(),
                others => others.join(" and "),
            };
            return Err(
                fail(format!("the file is encrypted for {by}, and prebake opens those for age")).hint(PIPE)
            );
        }
        if identities.is_empty() {
            let text =
                format!("the file is encrypted, and there is no age identity in {}", identities.sought());
            return Err(fail(text).hint("set SOPS_AGE_KEY_FILE to the file with the identity"));
        }
        for (_, armored) in &self.age {
            let Some(plain) = opened(armored, identities) else { continue };
            if let Ok(key) = <[u8; 32]>::try_from(plain.as_slice()) {
                return Ok(Zeroizing::new(key));
            }
            return Err(fail("the file's data key does not have 32 bytes".into()));
        }
        let recipients: Vec<&str> = self.age.iter().map(|(recipient, _)| recipient.as_str()).collect();
        let text = format!(
            "no age identity in {} opens the file, which is for {}",
            identities.sought(),
            recipients.join(", ")
        );
        Err(fail(text).hint("set SOPS_AGE_KEY_FILE to the file with the identity of one of them, or have somebody add yours: `sops updatekeys`"))
    }
}

/// The contents of an armored file of age, if one of the identities opens it.
fn opened(armored: &str, identities: &Identities) -> Option<Zeroizing<Vec<u8>>> {
    let reader = age::armor::ArmoredReader::new(armored.trim().as_bytes());
    let decryptor = age::Decryptor::new_buffered(reader).ok()?;
    let reader = decryptor.decrypt(identities.iter()).ok()?;
    // A data key has 32 bytes.
    let mut plain = Zeroizing::new(Vec::with_capacity(64));
    reader.take(64).read_to_end(&mut plain).ok()?;
    Some(plain)
}
