//! The calls that change something, as values: what is sent, and what `--dry-run` shows, are the same.
//!
//! Owns paths and parameters. Leaves sending to [`super::wire`].

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use super::document::Guest;
use super::vm::{DISK, Vm};
use crate::base::digest::Sha256;

/// Bytes of a path's part that are written as `%XX`: all but those that no part is cut at (RFC 3986 §3.3).
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'!');

/// Longest value that people are shown.
const LONGEST: usize = 200;

/// A call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub method: Method,
    /// Below `/api2/json`, encoded.
    pub path: String,
    pub parameters: Vec<(&'static str, String)>,
    /// As a verb with its object: `create VM 211`.
    pub action: String,
}

/// A part of a path.
pub(crate) fn part(text: &str) -> String {
    utf8_percent_encode(text, PART).to_string()
}

/// `/nodes/NODE/qemu/ID`
fn of_vm(node: &str, id: u32) -> String {
    format!("/nodes/{}/qemu/{id}", part(node))
}

impl Call {
    /// Asks for a document; nothing is changed.
    pub fn get(path: String, parameters: Vec<(&'static str, String)>, action: impl Into<String>) -> Call {
        Call { method: Method::GET, path, parameters, action: action.into() }
    }

    /// Sends an image to a storage. The order of the parameters is the one in which Proxmox VE looks for them in the
    /// body (`PVE::APIServer::AnyEvent::file_upload_multipart`); the file comes behind them.
    pub fn upload(node: &str, storage: &str, file: &str, sha256: &Sha256) -> Call {
        Call {
            method: Method::POST,
            path: format!("/nodes/{}/storage/{}/upload", part(node), part(storage)),
            parameters: vec![
                ("content", "import".into()),
                ("checksum-algorithm", "sha256".into()),
                ("checksum", sha256.to_string()),
                ("filename", file.into()),
            ],
            action: format!("take {file} onto the storage {storage}"),
        }
    }

    /// Makes a VM.
    pub fn create(node: &str, id: u32, options: Vec<(&'static str, String)>, description: String) -> Call {
        let mut parameters = vec![("vmid", id.to_string())];
        parameters.extend(options);
        parameters.push(("description", description));
        let path = format!("/nodes/{}/qemu", part(node));
        Call { method: Method::POST, path, parameters, action: format!("create VM {id}") }
    }

    /// Gives a VM's disk the length that its options have; nothing if they have none.
    pub fn resize(node: &str, id: u32, vm: &Vm) -> Option<Call> {
        let size = vm.resize()?;
        let action = format!("resize the disk of VM {id} to {size}");
        let parameters = vec![("disk", DISK.into()), ("size", size)];
        Some(Call { method: Method::PUT, path: format!("{}/resize", of_vm(node, id)), parameters, action })
    }

    /// Makes a template of a VM.
    pub fn template(node: &str, id: u32) -> Call {
        let action = format!("make a template of VM {id}");
        Call {
            method: Method::POST,
            path: format!("{}/template", of_vm(node, id)),
            parameters: Vec::new(),
            action,
        }
    }

    /// Writes a VM's description.
    pub fn describe(node: &str, id: u32, description: String) -> Call {
        let parameters = vec![("description", description)];
        let action = format!("write the description of VM {id}");
        Call { method: Method::PUT, path: format!("{}/config", of_vm(node, id)), parameters, action }
    }

    /// Removes a VM with its disks.
    pub fn remove(guest: &Guest) -> Call {
        Call {
            method: Method::DELETE,
            path: of_vm(&guest.node, guest.id),
            parameters: vec![("purge", "1".into())],
            action: format!("remove VM {}", guest.id),
        }
    }

    /// Removes a volume.
    pub fn free(node: &str, storage: &str, volume: &str) -> Call {
        Call {
            method: Method::DELETE,
            path: format!("/nodes/{}/storage/{}/content/{}", part(node), part(storage), part(volume)),
            parameters: Vec::new(),
            action: format!("remove the volume {volume}"),
        }
    }
}

/// As people read it: one line, `POST /nodes/pve/qemu vmid=211 …`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (key, value) in &self.parameters {
            let value: String = value.replace('\n', "\\n").chars().take(LONGEST).collect();
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}
