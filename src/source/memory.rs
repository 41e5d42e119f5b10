//! Memory of the proofs that were found at versioned URLs: which signature or digest a place has for a file. Together
//! with the objects in the store it spares a second fetch of what another recipe, or an earlier lock, has brought.
//!
//! A memory proves nothing: a signature is judged by the recipe's own pin as if it had just arrived, and counts only for
//! recipes that would ask the same mirrors, since another recipe's mirror may mix versions up. Elsewhere the small proof is
//! asked for again, and only the large bytes are taken from the store. `gc` drops memories that nobody used for a month.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::base::canonical::canonical_json;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::url::masked;
use crate::store::Store;
use crate::trust::openpgp::Fingerprint;

/// A signature as some place has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SignatureAt {
    /// Its canonical URL.
    pub url: String,
    /// Its bytes, in the store.
    pub object: Object,
}

/// A digest as some place has it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DigestAt {
    /// The published SHA-256.
    pub sha256: Sha256,
}

/// Whether a URL names the same bytes for ever: its path has a version or a commit, and no word for whatever is newest, nor one
/// that begins like a branch or a pointer, such as `release-1.34` and `stable-1.34.txt`. A release with such a name is fetched
/// twice, which is only slower.
pub(crate) fn is_versioned(url: &str) -> bool {
    const MOVING: [&str; 11] = [
        "latest", "current", "main", "master", "head", "nightly", "edge", "rolling", "tip", "trunk",
        "snapshot",
    ];
    const BRANCHES: [&str; 4] = ["stable", "release", "branch", "lts"];
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let words = || path.split(['/', '?', '&', '=', '#']);
    let is_moving = |word: &str| {
        let (first, more) =
            word.split_once(['-', '_']).map_or((word, None), |(first, more)| (first, Some(more)));
        MOVING.iter().any(|moving| word.eq_ignore_ascii_case(moving))
            || more.is_some() && BRANCHES.iter().any(|branch| first.eq_ignore_ascii_case(branch))
    };
    !words().any(is_moving) && words().any(|word| has_version(word) || is_commit(word))
}

/// Whether two numbers are joined by a dot.
fn has_version(word: &str) -> bool {
    word.as_bytes().windows(3).any(|three| matches!(three, [b'0'..=b'9', b'.', b'0'..=b'9']))
}

fn is_commit(word: &str) -> bool {
    matches!(word.len(), 40 | 64) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The name of the memory of a file's proof: `urls` are the file's and its proof's canonical URLs, `asked` those that
/// would be asked instead. `None` where one of them may have other bytes tomorrow.
pub(super) fn proof_key<'u>(
    urls: impl Iterator<Item = &'u str> + Clone,
    asked: impl Fn(&str) -> Vec<String>,
) -> Option<Sha256> {
    if !urls.clone().all(is_versioned) {
        return None;
    }
    let asked: Vec<Vec<String>> =
        urls.clone().map(|url| asked(url).iter().map(|url| masked(url)).collect()).collect();
    let urls: Vec<&str> = urls.collect();
    Some(Sha256::of(&canonical_json(&json!({"kind": "proof", "urls": urls, "asked": asked}))))
}

/// The name of the memory of the file that a signature is over, as verified under a pin.
pub(super) fn signed_key(pin: Fingerprint, signature: &Sha256) -> Sha256 {
    Sha256::of(&canonical_json(&json!({"kind": "signed file", "pin": pin, "signature": signature})))
}

/// A memory; none if it is unreadable.
pub(super) fn recall<T: DeserializeOwned>(store: &Store, key: &Sha256) -> Option<T> {
    serde_json::from_slice(&store.note(key)?).ok()
}

/// Keeps a memory for another month.
pub(super) fn keep<T: Serialize>(store: &Store, key: &Sha256, memory: &T) -> Result<(), disk::Error> {
    store.keep_note(key, &canonical_json(memory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_whose_bytes_stay_are_remembered() {
        for url in [
            "https://stable.release.flatcar-linux.net/amd64-usr/4593.2.5/flatcar_production_pxe.vmlinuz",
            "https://dl.k8s.io/v1.34.4/bin/linux/amd64/kubeadm",
            "https://github.com/o/r/releases/download/v2.1/x.tgz",
            "https://github.com/o/r/archive/0123456789abcdef0123456789abcdef01234567/x.tgz",
            "https://example.org/x-1.2.tgz?mirror=3",
            "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet",
        ] {
            assert!(is_versioned(url), "{url}");
        }
        for url in [
            "https://stable.release.flatcar-linux.net/amd64-usr/current/version.txt",
            "https://github.com/o/r/releases/latest/download/x-1.2.tgz",
            "https://github.com/o/r/raw/HEAD/x-1.2",
            "https://10.0.0.1/x.tgz",
            "https://example.org:80.80",
            "https://example.org/stable.txt",
            "https://example.org/v5/x",
            "https://raw.example.org/o/r/release-1.34/x",
            "https://example.org/o/r/raw/Release_1.34/x",
            "https://dl.k8s.io/release/stable-1.34.txt",
            "https://example.org/branch-2.1/x.tgz",
            "https://example.org/lts-22.04/x.tgz",
        ] {
            assert!(!is_versioned(url), "{url}");
        }
    }

    #[test]
    fn another_mirror_is_another_memory() {
        let urls = ["https://dl.k8s.io/v1.34.4/x", "https://dl.k8s.io/v1.34.4/x.sha256"];
        let key = |mirror: &str| {
            proof_key(urls.into_iter(), |url| vec![url.replace("https://dl.k8s.io", mirror)]).unwrap()
        };
        assert_eq!(key("http://a:b@m"), key("http://a:c@m"), "a password is no place");
        assert_ne!(key("http://a"), key("http://b"));
        let moving = ["https://dl.k8s.io/v1.34.4/x", "https://dl.k8s.io/latest/x.sha256"];
        assert!(proof_key(moving.into_iter(), |_| Vec::new()).is_none());
    }
}
