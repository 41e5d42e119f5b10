//! Users in the forms `NAME` and `UID`, each with an optional `:GROUP`.
//!
//! Names are looked up only in /etc/passwd and /etc/group. Users from other sources (LDAP, systemd's dynamic users)
//! have to be given by number.

use std::fmt;

use rustix::process::{Gid, Uid};

/// A user, and its only group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The number of the user.
    pub uid: Uid,
    /// The number of the group.
    pub gid: Gid,
}

/// There is no user or group of this name.
#[derive(Debug, thiserror::Error)]
#[error("there is no user or group `{0}`")]
pub(crate) struct Unknown(String);

impl User {
    /// Parses a user. The other texts are those of /etc/passwd and /etc/group. Without a group, it is the user's own,
    /// or for an unknown number the group of the same number.
    pub(crate) fn parse(text: &str, passwd: &str, group: &str) -> Result<User, Unknown> {
        let (name, of_group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
        let unknown = |name: &str| Unknown(name.to_owned());
        let row = row(passwd, name);
        let uid = id(name).or_else(|| id(row.as_ref()?.get(2)?)).ok_or_else(|| unknown(name))?;
        let gid = match of_group {
            Some(name) => {
                let listed = || id(self::row(group, name)?.get(2)?);
                id(name).or_else(listed).ok_or_else(|| unknown(name))?
            }
            None => row.and_then(|row| id(row.get(3)?)).unwrap_or(uid),
        };
        Ok(User { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) })
    }
}

/// The fields of the line whose name or number this is.
fn row<'t>(table: &'t str, name: &str) -> Option<Vec<&'t str>> {
    let mut rows = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
    rows.find(|row| row[0] == name || (id(name).is_some() && row.get(2) == Some(&name)))
}

/// The highest number means "leave unchanged" in system calls, so it is not a valid one.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid.as_raw(), self.gid.as_raw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:nobody:/:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nboot:x:77:nobody\n";

    #[test]
    fn a_user_is_a_name_or_a_number_and_its_group_its_own_unless_another_is_named() {
        for (text, is) in [
            ("nobody", "65534:65533"),
            ("65534", "65534:65533"),
            ("nobody:boot", "65534:77"),
            ("nobody:0", "65534:0"),
            ("1000", "1000:1000"),
            ("1000:100", "1000:100"),
        ] {
            assert_eq!(User::parse(text, PASSWD, GROUP).unwrap().to_string(), is, "{text}");
        }
        for none in ["", "somebody", "nobody:none", "broken", "4294967295", "-1", "1000:", "0:4294967295"] {
            assert!(User::parse(none, PASSWD, GROUP).is_err(), "{none}");
        }
    }
}
