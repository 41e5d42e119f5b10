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

/// The parts of a request that answers depend on.
pub(crate) struct Request<'r> {
    /// The method. Endpoints that take no body answer POST like GET, as Matchbox does.
    pub method: &'r Method,
    /// The path as sent, percent-encoded.
    pub path: &'r str,
    /// The query as sent; empty if there is none.
    pub query: &'r str,
    /// `http` or `https`.
    pub scheme: &'r str,
    /// The headers.
    pub headers: &'r hyper::HeaderMap,
    /// The body, if [`takes_body`](crate::serve::endpoint::routes::takes_body) is true for the request.
    pub body: &'r str,
    /// The time of arrival.
    pub now: SystemTime,
    /// The client's address.
    pub peer: IpAddr,
}

impl Request<'_> {
    /// A header's value, if the header occurs exactly once and is readable.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok();
        value.filter(|_| values.next().is_none())
    }

    /// The URL at which the client reached us, from its `Host` header if that is a plain host and port. It becomes a
    /// kernel argument, so it must contain nothing else.
    pub(crate) fn base_url(&self) -> Option<String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        let host = self.header("host").filter(|host| !host.is_empty() && host.chars().all(plain))?;
        Some(format!("{}://{host}", self.scheme))
    }
}

/// The state from which requests are answered.
pub(crate) struct World<'w> {
    /// The site that is served.
    pub site: &'w Site,
    /// The machines seen so far.
    pub monitor: &'w Monitor,
    /// Hands out private configs. `None` if nobody gets them.
    pub guard: Option<&'w Guard>,
    /// iPXE binaries, if firmware is pointed to them.
    pub loaders: &'w Loaders,
}

/// The group of a machine, or an answer that says why it has none.
pub(crate) fn select_group<'w>(world: &World<'w>, labels: &Labels) -> Result<&'w Group, Answer> {
    world.site.groups.select(labels).ok_or_else(|| {
        if let Some(live) = &world.site.live {
            if let Some(flaw) = live.closed() {
                return Answer::missing(&flaw.to_string());
            }
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

/// The group and profile of a machine, or an answer that says why it has none.
pub(crate) fn select<'w>(world: &World<'w>, labels: &Labels) -> Result<(&'w Group, &'w Profile), Answer> {
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
