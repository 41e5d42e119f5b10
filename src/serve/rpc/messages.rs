//! The messages of Matchbox's gRPC API (packages `serverpb` and `storagepb` of Matchbox v0.11.0), as Rust structs.
//!
//! Owns the field numbers and types, which are the wire format; a map is sorted, so that equal messages have equal bytes. Leaves
//! the calls to `services`, and what a message does to the data directory to [`store`](super::store).

use std::collections::BTreeMap;

/// A group of machines (`storagepb.Group`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Group {
    /// The name of its file without `.json`.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The name for people.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The id of its profile.
    #[prost(string, tag = "3")]
    pub profile: String,
    /// The labels that a machine must have.
    #[prost(btree_map = "string, string", tag = "4")]
    pub selector: BTreeMap<String, String>,
    /// Variables of templates: a JSON object; empty if there are none.
    #[prost(bytes = "vec", tag = "5")]
    pub metadata: Vec<u8>,
}

/// The boot and the configs of machines (`storagepb.Profile`).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Profile {
    /// The name of its file without `.json`.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The name for people.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The name of the config below `ignition/`.
    #[prost(string, tag = "3")]
    pub ignition_id: String,
    /// The name of the cloud-config below `cloud/`.
    #[prost(string, tag = "4")]
    pub cloud_id: String,
    /// The files that a loader loads.
    #[prost(message, optional, tag = "5")]
    pub boot: Option<NetBoot>,
    /// The name of the template below `generic/`.
    #[prost(string, tag = "6")]
    pub generic_id: String,
}

/// The files that a loader loads (`storagepb.NetBoot`). Number 3, `cmdline`, is reserved.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NetBoot {
    /// The kernel's URL.
    #[prost(string, tag = "1")]
    pub kernel: String,
    /// URLs of initrds, in order.
    #[prost(string, repeated, tag = "2")]
    pub initrd: Vec<String>,
    /// Kernel arguments.
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
}

/// A request that names one file or record, and an answer with nothing in it.
macro_rules! named {
    ($($(#[$doc:meta])* $name:ident { $field:ident })*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        pub struct $name {
            /// The name, by which its file is called.
            #[prost(string, tag = "1")]
            pub $field: String,
        }
    )* };
}

/// Messages without fields.
macro_rules! empty {
    ($($(#[$doc:meta])* $name:ident)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
        pub struct $name {}
    )* };
}

/// Requests to store a text under a name.
macro_rules! config {
    ($($(#[$doc:meta])* $name:ident)*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        pub struct $name {
            /// The path below its folder.
            #[prost(string, tag = "1")]
            pub name: String,
            /// The content of the file.
            #[prost(bytes = "vec", tag = "2")]
            pub config: Vec<u8>,
        }
    )* };
}

/// Requests with a machine's labels.
macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident)*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        pub struct $name {
            /// The labels as they are: a MAC address is not normalised.
            #[prost(btree_map = "string, string", tag = "1")]
            pub labels: BTreeMap<String, String>,
        }
    )* };
}

/// Messages with one record, or none.
macro_rules! one {
    ($($(#[$doc:meta])* $name:ident { $field:ident: $record:ident })*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        pub struct $name {
            /// The record.
            #[prost(message, optional, tag = "1")]
            pub $field: Option<$record>,
        }
    )* };
}

/// Answers with all records of a kind.
macro_rules! all {
    ($($(#[$doc:meta])* $name:ident { $field:ident: $record:ident })*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        pub struct $name {
            /// The records, in the order of their files' names.
            #[prost(message, repeated, tag = "1")]
            pub $field: Vec<$record>,
        }
    )* };
}

/// Answers with a file's content.
macro_rules! content {
    ($($(#[$doc:meta])* $name:ident)*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, prost::Message)]
        pub struct $name {
            /// The content as it was stored.
            #[prost(bytes = "vec", tag = "1")]
            pub config: Vec<u8>,
        }
    )* };
}

labels! {
    /// Asks for the group of a machine.
    SelectGroupRequest
    /// Asks for the profile of a machine.
    SelectProfileRequest
}

one! {
    /// The group of a machine.
    SelectGroupResponse { group: Group }
    /// The profile of a machine.
    SelectProfileResponse { profile: Profile }
    /// Stores a group.
    GroupPutRequest { group: Group }
    /// A stored group.
    GroupGetResponse { group: Group }
    /// Stores a profile.
    ProfilePutRequest { profile: Profile }
    /// A stored profile.
    ProfileGetResponse { profile: Profile }
}

all! {
    /// All groups that can be read.
    GroupListResponse { groups: Group }
    /// All profiles that can be read.
    ProfileListResponse { profiles: Profile }
}

named! {
    /// Asks for a group.
    GroupGetRequest { id }
    /// Removes a group.
    GroupDeleteRequest { id }
    /// Asks for a profile.
    ProfileGetRequest { id }
    /// Removes a profile.
    ProfileDeleteRequest { id }
    /// Asks for a file below `ignition/`.
    IgnitionGetRequest { name }
    /// Removes a file below `ignition/`.
    IgnitionDeleteRequest { name }
    /// Asks for a file below `generic/`.
    GenericGetRequest { name }
    /// Removes a file below `generic/`.
    GenericDeleteRequest { name }
}

config! {
    /// Stores a file below `ignition/`.
    IgnitionPutRequest
    /// Stores a file below `generic/`.
    GenericPutRequest
}

content! {
    /// A file below `ignition/`.
    IgnitionGetResponse
    /// A file below `generic/`.
    GenericGetResponse
}

empty! {
    /// The group is stored.
    GroupPutResponse
    /// The group is removed.
    GroupDeleteResponse
    /// Asks for all groups.
    GroupListRequest
    /// The profile is stored.
    ProfilePutResponse
    /// The profile is removed.
    ProfileDeleteResponse
    /// Asks for all profiles.
    ProfileListRequest
    /// The file below `ignition/` is stored.
    IgnitionPutResponse
    /// The file below `ignition/` is removed.
    IgnitionDeleteResponse
    /// The file below `generic/` is stored.
    GenericPutResponse
    /// The file below `generic/` is removed.
    GenericDeleteResponse
}
