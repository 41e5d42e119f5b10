//! A request as endpoints see it, the world that answers it, and the group and profile that it means.

use std::net::IpAddr;
use std::time::SystemTime;

use hyper::Method;

use crate::serve::answer::Answer;
use crate::serve::endpoint::guard::Guard;
use crate::serve::loaders::Loaders;
use crate::serve::machines::monitor::Monitor;
use crate::serve::site::Site;
use crate::serve::site::labels::Labels;
use crate::tree::records::{Group, Profile};

/// A request, as far as answers depend on it.
pub struct Request<'r> {
    /// The method. A POST is answered like GET wherever nothing is posted, as Matchbox does.
    pub method: &'r Method,
    /// The path as sent, percent-encoded.
    pub path: &'r str,
    /// The query as sent; empty without.
    pub query: &'r str,
    /// `http` or `https`.
    pub scheme: &'r str,
    /// The headers.
    pub headers: &'r hyper::HeaderMap,
    /// The body, where [`takes_body`] says that it is read.
    pub body: &'r str,
    /// When it came.
    pub now: SystemTime,
    /// Who asks.
    pub peer: IpAddr,
}

impl Request<'_> {
    /// A header's value, if it is there once and readable.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok();
        value.filter(|_| values.next().is_none())
    }

    /// Where the client reached us: what it sent as `Host`, if that is a plain host and port. It becomes a kernel
    /// argument, so nothing else may be in it.
    pub fn base_url(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let host = self.header("host").filter(|host| !host.is_empty() && host.chars().all(plain))?;
        Some(format!("{}://{host}", self.scheme))
    }
}

/// What is answered from.
pub struct World<'w> {
    /// The tree.
    pub site: &'w Site,
    /// What was seen of machines.
    pub monitor: &'w Monitor,
    /// Who gives out what is private; none if nobody gets it.
    pub guard: Option<&'w Guard>,
    /// iPXE binaries, where firmware is told of them.
    pub loaders: &'w Loaders,
}

/// The group of a machine, or an answer that says what it lacks.
pub fn select_group<'w>(world: &World<'w>, labels: &Labels) -> Result<&'w Group, Answer> {
    world.site.groups.select(labels).ok_or_else(|| {
        if world.site.live.is_some() {
            return Answer::missing(match world.site.groups.iter().next() {
                Some(_) => "no group matches, and there is no default group (one without `selector`)",
                None => "there are no groups",
            });
        }
        let asked = labels.to_string();
        let asked = if asked.is_empty() { "none".to_owned() } else { asked };
        Answer::missing(&format!(
            "no group matches a machine with these labels: {asked}\nadd it to `nodes:` in the recipe, or name a `default_profile`"
        ))
    })
}

/// The group and profile of a machine, likewise.
pub fn select<'w>(world: &World<'w>, labels: &Labels) -> Result<(&'w Group, &'w Profile), Answer> {
    let group = select_group(world, labels)?;
    let profile = world.site.profiles.get(&group.profile);
    let profile = profile.ok_or_else(|| {
        let why = match group.profile.as_str() {
            "" => format!("group `{}` names no `profile`", group.id),
            id => format!("its profile `{id}` does not exist, or cannot be read"),
        };
        Answer::missing(&why).matched(group)
    })?;
    Ok((group, profile))
}
