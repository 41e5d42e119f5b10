//! The cluster's keys: its authorities, its service accounts' key, and what is signed with them.
//!
//! ```text
//! OUTPUT/.NAME/pki/   0700, as kubeadm has them below /etc/kubernetes/pki
//!   ca, front-proxy-ca, etcd/ca  .crt .key   three authorities
//!   sa.key, sa.pub                           what tokens of service accounts are signed and judged with
//!   .complete                                all of them were there once: from then on a key is never made in place of a lost one
//! ```
//! They are made once, before any machine has power, so that the kubeconfig is there as early, no machine is asked for it, and
//! controllers need no certificate key, which lasts two hours (kubernetes/website#13191). kubeadm takes what it finds ("Using existing
//! ca certificate authority") and makes the rest on each machine. A site with authorities of its own puts them there first. Leaves
//! files of machines to `project`, and what is asked with the kubeconfig to `api`.

mod authority;
mod error;
pub mod key;
pub mod kubeconfig;
mod store;
pub mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use authority::{Authority, Subject};
pub use error::Error;
use key::{Accounts, Algorithm};
use kubeconfig::{Kubeconfig, Written};
use store::Store;

use crate::base::digest::Sha256;
use crate::cluster::description::Cluster;
use crate::cluster::place::Place;

/// Base name and common name of each authority, as kubeadm has them.
const AUTHORITIES: [(&str, &str); 3] =
    [("ca", "kubernetes"), ("front-proxy-ca", "front-proxy-ca"), ("etcd/ca", "etcd-ca")];
/// The key of the cluster's own authority.
const KEY_OF_THE_CLUSTER: &str = "ca.key";
/// Name of the file that says that the set was complete once.
const COMPLETE: &str = ".complete";
const COMPLETE_TEXT: &[u8] =
    b"The cluster's keys were all here once. Without this file, those that lack are made anew.\n";

/// Files that the API server needs for an etcd outside of the cluster, by kubeadm's usual names below `/etc/kubernetes/pki`: the authority,
/// a client's certificate, and its key.
pub(in crate::cluster) const EXTERNAL_ETCD: [&str; 3] =
    ["etcd/ca.crt", "apiserver-etcd-client.crt", "apiserver-etcd-client.key"];
/// Where the files of our own authority of etcd are.
const ETCD: &str = "etcd/";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an administrator's certificate lasts, as kubeadm's.
const ADMINISTRATOR_LASTS: Duration = Duration::from_secs(365 * DAY.as_secs());
/// How long a certificate to join with lasts: until the boot server has long made the next one.
pub const JOINING_LASTS: Duration = DAY;
/// How often the boot server makes it anew.
pub const JOINING_RENEWED: Duration = Duration::from_secs(3600);

/// The group of administrators, to which kubeadm binds the role `cluster-admin` as soon as its API server answers (since 1.29).
const ADMINISTRATORS: &str = "kubeadm:cluster-admins";
/// The group that may do everything without asking RBAC.
const MASTERS: &str = "system:masters";
/// The group that may ask for a kubelet's certificate, which the controller manager then gives without a person.
const BOOTSTRAPPERS: &str = "system:bootstrappers:kubeadm:default-node-token";

/// The keys of one cluster. Prints as their directory.
pub struct Pki {
    directory: PathBuf,
    cluster: Authority,
    etcd: Authority,
    files: BTreeMap<&'static str, Zeroizing<Vec<u8>>>,
    exposed: Vec<PathBuf>,
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Pki {
    /// Opens the cluster's keys, and makes those that lack if they were never complete: a run that ended in the middle leaves a set
    /// that the next one completes.
    ///
    /// # Errors
    /// A file that cannot be read or written; a certificate without its key, or of another one; an authority that has expired or
    /// cannot sign; a key that was there once and is lost.
    pub fn ensure(place: &Place, algorithm: Algorithm, now: SystemTime) -> Result<Pki, Error> {
        let store = Store::make(place)?;
        let _lock = store.lock()?;
        // Each file is named as soon as it is complete, a key before its certificate: whenever this ends, what is there fits.
        let lost = store.read(COMPLETE)?.is_some();
        // Before any is made: machines must not be given keys of a new cluster in place of those of the one that runs.
        if place.kubeconfig().exists() && store.read(KEY_OF_THE_CLUSTER)?.is_none() {
            let path = place.pki().join(KEY_OF_THE_CLUSTER);
            return Err(Error::Lost { path, why: "the kubeconfig that is there was made with other keys" });
        }
        for (base, common_name) in AUTHORITIES {
            Authority::ensure(&store, base, common_name, (!lost).then_some(algorithm), now)?;
        }
        Accounts::ensure(&store, (!lost).then_some(algorithm))?;
        if !lost {
            store.write(COMPLETE, COMPLETE_TEXT)?;
        }
        Pki::read(store, now)
    }

    /// Opens keys that are there, and makes none.
    ///
    /// # Errors
    /// As of [`Pki::ensure`], and a file that lacks.
    pub fn open(place: &Place, now: SystemTime) -> Result<Pki, Error> {
        Pki::read(Store::open(place)?, now)
    }

    fn read(store: Store, now: SystemTime) -> Result<Pki, Error> {
        let mut files = BTreeMap::new();
        let mut cluster = None;
        for (base, _) in AUTHORITIES {
            let authority = Authority::open(&store, base, now)?;
            for name in [authority.certificate_name(), authority.key_name()] {
                files.insert(name, store.need(name)?);
            }
            cluster.get_or_insert(authority);
        }
        Accounts::open(&store)?;
        for name in [Accounts::KEY, Accounts::PUBLIC] {
            files.insert(name, store.need(name)?);
        }
        let cluster = match cluster {
            Some(authority) => authority,
            // The table has rows.
            None => Authority::open(&store, AUTHORITIES[0].0, now)?,
        };
        let etcd = Authority::open(&store, AUTHORITIES[2].0, now)?;
        let (directory, exposed) = store.end();
        Ok(Pki { directory, cluster, etcd, files, exposed })
    }

    /// Their directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Files that others than their owner could read until now, by their permissions.
    pub fn exposed(&self) -> &[PathBuf] {
        &self.exposed
    }

    /// Files that each controller needs before `kubeadm init` or `join`, by path below `/etc/kubernetes/pki`; for an etcd outside of the
    /// cluster, the files that the description names, in place of an authority of ours. Workers need none: the config to join with has
    /// the authority's certificate, and kubeadm refuses a worker that has `ca.crt` already.
    ///
    /// # Errors
    /// A file that the description names cannot be read, is not of its kind, or does not belong to the one beside it.
    pub fn controller_files(
        &self,
        cluster: &Cluster,
    ) -> Result<BTreeMap<&'static str, Zeroizing<Vec<u8>>>, Error> {
        let mut files = self.files.clone();
        if let Some(etcd) = &cluster.etcd {
            files.retain(|name, _| !name.starts_with(ETCD));
            let [ca, certificate, key] = [&etcd.ca, &etcd.cert, &etcd.key].map(|path| path.value.as_path());
            files.extend(EXTERNAL_ETCD.into_iter().zip(authority::client_files(ca, certificate, key)?));
        }
        Ok(files)
    }

    /// The kind of keys that the cluster's authority has, hence kubeadm's for what it makes on each machine.
    pub fn algorithm(&self) -> Algorithm {
        self.cluster.algorithm()
    }

    /// Certificate of the cluster's authority, in PEM.
    pub fn ca_certificate(&self) -> &[u8] {
        self.cluster.certificate()
    }

    /// `sha256:` and the digest of the public key of the cluster's authority (DER of its SubjectPublicKeyInfo), as `caCertHashes` has it.
    pub fn ca_hash(&self) -> String {
        format!("sha256:{}", Sha256::of(&self.cluster.public_key()))
    }

    /// The first moment at which the cluster's authority no longer counts.
    pub fn ends(&self) -> SystemTime {
        self.cluster.ends()
    }

    /// The administrator's kubeconfig. kubeadm gives rights to its group once the API server answers; who has them can be changed later,
    /// other than of [`Pki::super_admin_kubeconfig`].
    ///
    /// # Errors
    /// The authority cannot sign.
    pub fn admin_kubeconfig(&self, cluster: &Cluster, now: SystemTime) -> Result<Kubeconfig, Error> {
        self.kubeconfig(cluster, ADMINISTRATORS, "kubernetes-admin", ADMINISTRATOR_LASTS, now)
    }

    /// A kubeconfig with all rights from the first answer of the API server on, before any role is bound: for this process, to be
    /// written nowhere. It lasts a day.
    ///
    /// # Errors
    /// The authority cannot sign.
    pub fn super_admin_kubeconfig(&self, cluster: &Cluster, now: SystemTime) -> Result<Kubeconfig, Error> {
        self.kubeconfig(cluster, MASTERS, "prebake", DAY, now)
    }

    /// The file that `discovery.file` of a machine names: a kubeconfig by which kubeadm believes the API server and asks for a kubelet's
    /// certificate, and may do no more. It needs neither a bootstrap token, which expires, nor `cluster-info`, which is to be signed
    /// (kubernetes/kubeadm#668). One machine's name is in it, for the audit log.
    ///
    /// # Errors
    /// The authority cannot sign.
    pub fn discovery(
        &self,
        cluster: &Cluster,
        node: &str,
        lasts: Duration,
        now: SystemTime,
    ) -> Result<Kubeconfig, Error> {
        self.kubeconfig(cluster, BOOTSTRAPPERS, node, lasts, now)
    }

    /// The end of what [`discovery`](Self::discovery) made for a machine, by its text; nothing if that is of another authority, address
    /// or machine.
    pub fn discovery_ends(&self, cluster: &Cluster, node: &str, text: &str) -> Option<SystemTime> {
        kubeconfig::end(text, &self.cluster, &cluster.name.value, &cluster.endpoint(), node)
    }

    /// Certificate and key in PEM of a client of etcd, as kubeadm's own `healthcheck-client`: etcd asks only for its authority. They
    /// last a day.
    ///
    /// # Errors
    /// The authority cannot sign.
    pub fn etcd_client(&self, now: SystemTime) -> Result<(String, Zeroizing<String>), Error> {
        let client = self.etcd.issue(&Subject { group: MASTERS, user: "prebake" }, DAY, now)?;
        Ok((client.certificate, client.key))
    }

    /// Certificate of etcd's authority, in PEM.
    pub fn etcd_certificate(&self) -> &[u8] {
        self.etcd.certificate()
    }

    fn kubeconfig(
        &self,
        cluster: &Cluster,
        group: &str,
        user: &str,
        lasts: Duration,
        now: SystemTime,
    ) -> Result<Kubeconfig, Error> {
        let client = self.cluster.issue(&Subject { group, user }, lasts, now)?;
        Ok(Kubeconfig::new(&cluster.name.value, &cluster.endpoint(), user, self.ca_certificate(), &client))
    }

    /// Writes the administrator's kubeconfig, for its owner's eyes only, unless one of this cluster is there that will last.
    ///
    /// # Errors
    /// A kubeconfig of another cluster is there, or something else; it cannot be read or written; the authority cannot sign.
    pub fn write_kubeconfig(
        &self,
        place: &Place,
        cluster: &Cluster,
        now: SystemTime,
    ) -> Result<Written, Error> {
        let path = place.kubeconfig();
        let told = kubeconfig::look(
            &path,
            (&self.cluster, &self.directory.join(self.cluster.certificate_name())),
            &cluster.name.value,
            &cluster.endpoint(),
            now,
        )?;
        if told != Written::Kept {
            kubeconfig::write(&path, &self.admin_kubeconfig(cluster, now)?)?;
        }
        Ok(told)
    }
}
