//! The calls of Matchbox's gRPC API, as reads and writes of a data directory's files.
//!
//! ```text
//! services ──▶ Store ──judge──▶ Fault (refused)
//!                │ form · read (Go's JSON)
//!                ▼
//!              files ──rename──▶ DIR/groups, profiles, ignition, generic ··inotify··▶ site (another process)
//! ```
//! Owns what each call answers, with Matchbox's words and codes, and which path a record has. Leaves connections, certificates and
//! the log to its caller.
//!
//! It differs from Matchbox on purpose in these points: what no machine could use is refused (or, if lenient, told), a name may
//! not lead out of its folder, nor a link out of the directory, a file changes as a whole, and a put without a record is an error
//! where Matchbox ends.

mod files;
pub mod form;
pub mod read;

use std::path::{Path, PathBuf};

use super::judge;
use super::messages::*;
use crate::base::error::{Advice, Exit};
use crate::base::unfinished;
use crate::serve::site::config::Kind;
use crate::tree::names::{self, GENERIC, GROUPS, IGNITION, PROFILES, below};
use files::{Files, MAX_FILE, contained, way_out};

/// The folders that are written.
const FOLDERS: [&str; 4] = [GROUPS, PROFILES, IGNITION, GENERIC];
/// The most records of a list about which a warning is given.
const MAX_WARNED: usize = 10;
/// Matchbox's words for a record without an id.
const NO_ID: &str = "Id is required";

/// The files of a data directory, as the API reads and writes them.
#[derive(Debug)]
pub(crate) struct Store {
    files: Files,
    manner: Manner,
}

/// How strictly a put is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Stores all that Matchbox stores, with a warning.
    Lenient,
    /// Refuses all that no machine could use.
    Usual,
    /// Refuses doubtful things, too: a strict server would hold up all edits for such a file.
    Strict,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The data directory is missing or unreadable.
    #[error("cannot open the data directory {}", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
    /// A folder of the data directory is a link out of it.
    #[error("{} is a link to {}, outside of the data directory", path.display(), target.display())]
    Outside {
        /// The folder.
        path: PathBuf,
        /// The place where it leads.
        target: PathBuf,
    },
    /// Nothing can be written there.
    #[error("cannot write into {}, where the data is", path.display())]
    ReadOnly {
        /// The directory, or a folder in it.
        path: PathBuf,
        /// The error of the system.
        source: std::io::Error,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoDirectory { .. } => None,
            Error::Outside { .. } => Some(
                "no link is followed out of the data directory, for machines either: move the folder into it, or bind-mount it there"
                    .into(),
            ),
            Error::ReadOnly { path, source } => way_out(path, source),
        }
    }
}

/// Status codes of gRPC, as far as the store answers by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Matchbox's answer to every error but the one below.
    Unknown,
    /// No group or profile is selected.
    NotFound,
    /// A put that Matchbox would have taken is refused, or a link leads out of the directory.
    InvalidArgument,
    /// A file is too large to be answered.
    ResourceExhausted,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    /// The status.
    pub code: Code,
    /// The words for the client.
    pub message: String,
    /// The way out for the administrator: a line for the log.
    pub way_out: Option<String>,
}

impl Fault {
    fn of(code: Code, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), way_out: None }
    }

    fn unknown(message: impl Into<String>) -> Fault {
        Fault::of(Code::Unknown, message)
    }
}

/// Lines for the log, which the client does not see: what was stored although it is wrong, and records that cannot be read.
pub(crate) type Warnings = Vec<String>;

/// Defines the calls of configs, which only the folder tells apart.
macro_rules! configs {
    ($kind:expr, $put:ident($put_request:ident) -> $put_response:ident,
     $get:ident($get_request:ident) -> $get_response:ident,
     $delete:ident($delete_request:ident) -> $delete_response:ident) => {
        /// Stores a config or template.
        ///
        /// # Errors
        /// It is refused, or cannot be written.
        pub(crate) fn $put(
            &self,
            request: &$put_request,
            warnings: &mut Warnings,
        ) -> Result<$put_response, Fault> {
            let $put_request { name, config } = request;
            let path = own(&format!("{}/{name}", $kind.folder()), $kind.folder())?;
            self.judged(&path, judge::config($kind, &path, config), warnings)?;
            advised(self.files.write(&path, config), warnings)?;
            Ok($put_response {})
        }

        /// Reads a config or template as it was stored.
        ///
        /// # Errors
        /// It cannot be read.
        pub(crate) fn $get(
            &self,
            request: &$get_request,
            warnings: &mut Warnings,
        ) -> Result<$get_response, Fault> {
            let path = contained(&format!("{}/{}", $kind.folder(), request.name))?;
            Ok($get_response { config: advised(self.files.read(&path), warnings)? })
        }

        /// Removes a config or template.
        ///
        /// # Errors
        /// It cannot be removed.
        pub(crate) fn $delete(
            &self,
            request: &$delete_request,
            warnings: &mut Warnings,
        ) -> Result<$delete_response, Fault> {
            let path = own(&format!("{}/{}", $kind.folder(), request.name), $kind.folder())?;
            advised(self.files.remove(&path), warnings)?;
            Ok($delete_response {})
        }
    };
}

impl Store {
    /// Opens the data directory, removes what a killed process left unfinished in it, and makes sure that it can be written.
    ///
    /// # Errors
    /// The directory is missing, or nothing can be written there.
    pub(crate) fn open(directory: &Path, manner: Manner) -> Result<Store, Error> {
        Ok(Store { files: Files::open(directory, &FOLDERS)?, manner })
    }

    /// Refuses what was judged to be wrong, or warns of it.
    fn judged(&self, path: &str, verdict: Result<(), String>, warnings: &mut Warnings) -> Result<(), Fault> {
        match verdict {
            Ok(()) => Ok(()),
            Err(why) if self.manner == Manner::Lenient => {
                warnings.push(format!("{path} is stored, but no machine can use it: {why}"));
                Ok(())
            }
            Err(why) => Err(Fault::of(
                Code::InvalidArgument,
                format!(
                    "{path} is not stored, since no machine could use it: {why} (a server with --lenient stores it)"
                ),
            )),
        }
    }

    /// Warns of what is doubtful in a record, or refuses it.
    fn doubted(
        &self,
        path: &str,
        doubts: impl Iterator<Item = String>,
        warnings: &mut Warnings,
    ) -> Result<(), Fault> {
        let mut doubts = doubts.peekable();
        if self.manner != Manner::Strict || doubts.peek().is_none() {
            warnings.extend(doubts.map(|why| format!("{path}: {why}")));
            return Ok(());
        }
        let whys = doubts.collect::<Vec<_>>().join("; ");
        let why = format!("{path} is not stored, since the server is --strict: {whys}");
        Err(Fault::of(Code::InvalidArgument, why))
    }

    /// Stores a group.
    ///
    /// # Errors
    /// It is refused, or cannot be written.
    pub(crate) fn group_put(
        &self,
        request: &GroupPutRequest,
        warnings: &mut Warnings,
    ) -> Result<GroupPutResponse, Fault> {
        let group = request.group.as_ref().filter(|group| !group.id.is_empty());
        let group = group.ok_or_else(|| Fault::unknown(NO_ID))?;
        if group.profile.is_empty() {
            return Err(Fault::unknown("Group requires a Profile"));
        }
        let bytes = form::group(&read::rich(group).map_err(Fault::unknown)?);
        let path = own(&names::group(&group.id), GROUPS)?;
        let verdict = judge::group(group).and_then(|()| judge::file(&bytes, MAX_FILE, read::group));
        self.judged(&path, verdict, warnings)?;
        self.doubted(&path, judge::doubts_of_group(&path, group), warnings)?;
        advised(self.files.write(&path, &bytes), warnings)?;
        Ok(GroupPutResponse {})
    }

    /// Reads a group.
    ///
    /// # Errors
    /// It cannot be read, or is not a group.
    pub(crate) fn group_get(
        &self,
        request: &GroupGetRequest,
        warnings: &mut Warnings,
    ) -> Result<GroupGetResponse, Fault> {
        Ok(GroupGetResponse { group: Some(advised(self.group(&request.id), warnings)?) })
    }

    /// Removes a group.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn group_delete(
        &self,
        request: &GroupDeleteRequest,
        warnings: &mut Warnings,
    ) -> Result<GroupDeleteResponse, Fault> {
        advised(self.files.remove(&own(&names::group(&request.id), GROUPS)?), warnings)?;
        Ok(GroupDeleteResponse {})
    }

    /// All groups that can be read.
    ///
    /// # Errors
    /// There is no folder of groups.
    pub(crate) fn group_list(
        &self,
        _: &GroupListRequest,
        warnings: &mut Warnings,
    ) -> Result<GroupListResponse, Fault> {
        Ok(GroupListResponse { groups: self.all(GROUPS, "Group", |id| self.group(id), warnings)? })
    }

    /// Stores a profile.
    ///
    /// # Errors
    /// It is refused, or cannot be written.
    pub(crate) fn profile_put(
        &self,
        request: &ProfilePutRequest,
        warnings: &mut Warnings,
    ) -> Result<ProfilePutResponse, Fault> {
        let profile = request.profile.as_ref().filter(|profile| !profile.id.is_empty());
        let profile = profile.ok_or_else(|| Fault::unknown(NO_ID))?;
        let path = own(&names::profile(&profile.id), PROFILES)?;
        let bytes = form::profile(profile);
        self.judged(&path, judge::file(&bytes, MAX_FILE, read::profile), warnings)?;
        self.doubted(&path, judge::doubts_of_profile(&path, profile), warnings)?;
        advised(self.files.write(&path, &bytes), warnings)?;
        Ok(ProfilePutResponse {})
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// It cannot be read, or is not a profile.
    pub(crate) fn profile_get(
        &self,
        request: &ProfileGetRequest,
        warnings: &mut Warnings,
    ) -> Result<ProfileGetResponse, Fault> {
        Ok(ProfileGetResponse { profile: Some(advised(self.profile(&request.id), warnings)?) })
    }

    /// Removes a profile.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn profile_delete(
        &self,
        request: &ProfileDeleteRequest,
        warnings: &mut Warnings,
    ) -> Result<ProfileDeleteResponse, Fault> {
        advised(self.files.remove(&own(&names::profile(&request.id), PROFILES)?), warnings)?;
        Ok(ProfileDeleteResponse {})
    }

    /// All profiles that can be read.
    ///
    /// # Errors
    /// There is no folder of profiles.
    pub(crate) fn profile_list(
        &self,
        _: &ProfileListRequest,
        warnings: &mut Warnings,
    ) -> Result<ProfileListResponse, Fault> {
        Ok(ProfileListResponse { profiles: self.all(PROFILES, "Profile", |id| self.profile(id), warnings)? })
    }

    configs! {
        Kind::Ignition,
        ignition_put(IgnitionPutRequest) -> IgnitionPutResponse,
        ignition_get(IgnitionGetRequest) -> IgnitionGetResponse,
        ignition_delete(IgnitionDeleteRequest) -> IgnitionDeleteResponse
    }

    configs! {
        Kind::Generic,
        generic_put(GenericPutRequest) -> GenericPutResponse,
        generic_get(GenericGetRequest) -> GenericGetResponse,
        generic_delete(GenericDeleteRequest) -> GenericDeleteResponse
    }

    /// The group of a machine with these labels, which are compared as they are.
    ///
    /// # Errors
    /// None matches, or there is no folder of groups.
    pub(crate) fn select_group(
        &self,
        request: &SelectGroupRequest,
        warnings: &mut Warnings,
    ) -> Result<SelectGroupResponse, Fault> {
        let groups = self.all(GROUPS, "Group", |id| self.group(id), warnings)?;
        let labels = &request.labels;
        let matches = |group: &Group| {
            // Without any label, Matchbox does not take a missing one for an empty one.
            let label = |key| labels.get(key).map(String::as_str).or((!labels.is_empty()).then_some(""));
            group.selector.iter().all(|(key, value)| label(key) == Some(value))
        };
        let rank = |group: &Group| {
            let mut pairs: Vec<String> = group.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            pairs.sort_unstable();
            (group.selector.len(), pairs.join(","))
        };
        // Of several with one selector, the first by its file's name, as `max_by` keeps the last.
        let matching = groups.into_iter().rev().filter(matches).map(|group| (rank(&group), group));
        let found = matching.max_by(|one, other| one.0.cmp(&other.0)).map(|(_, group)| group);
        match found {
            Some(group) => Ok(SelectGroupResponse { group: Some(group) }),
            None => Err(Fault::of(Code::NotFound, "matchbox: No matching Group")),
        }
    }

    /// The profile of a machine with these labels.
    ///
    /// # Errors
    /// No group matches, or its profile cannot be read.
    pub(crate) fn select_profile(
        &self,
        request: &SelectProfileRequest,
        warnings: &mut Warnings,
    ) -> Result<SelectProfileResponse, Fault> {
        let none = |what: &str| Fault::of(Code::NotFound, format!("matchbox: No matching {what}"));
        let request = SelectGroupRequest { labels: request.labels.clone() };
        // Matchbox's words do not mean something that the administrator has to mend.
        let or =
            |what: &'static str| move |fault: Fault| if fault.way_out.is_some() { fault } else { none(what) };
        let group = self.select_group(&request, warnings).map_err(or("Group"))?.group;
        let group = group.ok_or_else(|| none("Group"))?;
        let profile = advised(self.profile(&group.profile), warnings).map_err(or("Profile"))?;
        Ok(SelectProfileResponse { profile: Some(profile) })
    }

    fn group(&self, id: &str) -> Result<Group, Fault> {
        read::group(&self.files.read(&contained(&names::group(id))?)?).map_err(Fault::unknown)
    }

    fn profile(&self, id: &str) -> Result<Profile, Fault> {
        read::profile(&self.files.read(&contained(&names::profile(id))?)?).map_err(Fault::unknown)
    }

    /// The records of a folder: for each name in it, the record that is called so, whatever the name's extension is.
    fn all<T>(
        &self,
        folder: &str,
        what: &str,
        one: impl Fn(&str) -> Result<T, Fault>,
        warnings: &mut Warnings,
    ) -> Result<Vec<T>, Fault> {
        let mut records = Vec::new();
        let mut left_out = 0;
        for name in advised(self.files.list(folder), warnings)? {
            let stem = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem);
            match one(stem) {
                Ok(record) => records.push(record),
                Err(fault) => {
                    left_out += 1;
                    if left_out <= MAX_WARNED {
                        warnings.push(format!("{what} {stem:?}: {fault}"));
                    }
                }
            }
        }
        if left_out > MAX_WARNED {
            warnings.push(format!("{folder}/: {} more that cannot be read", left_out - MAX_WARNED));
        }
        Ok(records)
    }
}

/// Adds the way out of a failure to the lines of the log: the client gets Matchbox's words, and can do nothing about it.
fn advised<T>(done: Result<T, Fault>, warnings: &mut Warnings) -> Result<T, Fault> {
    warnings.extend(done.as_ref().err().and_then(|fault| fault.way_out.clone()));
    done
}

/// The path of something that is written or removed, which has to be in its own folder.
fn own(path: &str, folder: &str) -> Result<String, Fault> {
    let refused = |why: &str| Fault::of(Code::InvalidArgument, format!("`{path}` {why}"));
    let cleaned = contained(path)?;
    if cleaned != folder && below(&cleaned, folder).is_none() {
        return Err(refused(&format!("would lead out of {folder}/")));
    }
    match cleaned.split('/').any(|part| part.starts_with(unfinished::PREFIX)) {
        true => Err(refused(&format!(
            "has a name of unfinished files, which begin with `{}`",
            unfinished::PREFIX
        ))),
        false => Ok(cleaned),
    }
}

#[cfg(test)]
mod tests;
