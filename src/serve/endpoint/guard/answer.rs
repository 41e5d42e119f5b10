//! Answers for guarded configs.
//!
//! A machine with secrets boots with `ignition.config.url=…/guarded/TOKEN/boot.ign`, which overrides the config in its
//! overlay. That file has no secrets: it makes Ignition merge the machine's public config and then the guarded one,
//! which uses up the token. So Ignition already trusts the authorities in the public config when it fetches the guarded
//! one.

use std::borrow::Cow;
use std::time::Instant;
use std::{fs, io};

use hyper::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::{Guard, Handle, Machine, Refusal, Token};
use crate::base::canonical::is_contained_in_url;
use crate::serve::answer::{Answer, TEXT};
use crate::serve::endpoint::request::{Request, World};
use crate::serve::machines::timeline::plain_path;
use crate::serve::notice::Notice;
use crate::serve::site::Site;
use crate::serve::site::labels::Labels;
use crate::tree::names::{self, GUARDED, GUARDED_BOOT as BOOT, GUARDED_CONFIG as CONFIG, config_arg};
use crate::tree::private;
use crate::tree::records::Group;

/// The path behind `GUARDED`, if that is what a request is about.
pub(crate) fn guarded(name: &str) -> Option<&str> {
    name.strip_prefix(GUARDED)
}

/// The kernel argument that tells a machine where its secrets are, if it has any.
pub(crate) fn kernel_arg(
    world: &World<'_>,
    group: &Group,
    request: &Request<'_>,
    labels: &Labels,
) -> Result<Option<String>, Answer> {
    let profile = world.site.profiles.get(&group.profile);
    let (Some(guard), Some(profile)) = (world.guard, profile) else { return Ok(None) };
    if read(guard, world.site, &profile.ignition_id)?.is_none() {
        return Ok(None);
    }
    let base =
        request.base_url().ok_or_else(|| Answer::new(400, TEXT, "the request needs a `Host` header\n"))?;
    let token = guard.mint(Machine::of(labels), &profile.ignition_id, request.peer, Instant::now());
    let token = match token {
        // A machine that boots without its secrets is better than one that does not boot.
        Err(Refusal::Full) => return Ok(None),
        token => token.map_err(refuse)?,
    };
    Ok(Some(config_arg(&format!("{base}/{GUARDED}{token}/{BOOT}"))))
}

/// Answers below `GUARDED`.
pub(crate) fn answer(world: &World<'_>, guard: &Guard, rest: &str, request: &Request<'_>) -> Answer {
    let answer = match (request.method, rest.split_once('/')) {
        (&Method::GET, Some((token, BOOT))) => boot(guard, token, request),
        (&Method::GET, Some((token, CONFIG))) => config(world, guard, token, request),
        (&Method::GET, _) => Err(refuse(Refusal::Unknown)),
        _ => Err(Answer::new(405, TEXT, "tokens work with GET only\n").header("allow", "GET")),
    };
    answer.unwrap_or_else(|refused| refused).header("cache-control", "no-store")
}

fn boot(guard: &Guard, token: &str, request: &Request<'_>) -> Result<Answer, Answer> {
    let token: Token = token.parse().map_err(refuse)?;
    let (Machine { mac, uuid }, id) = guard.look(token, request.peer, Instant::now()).map_err(refuse)?;
    let encode = |value| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    let labels = format!("mac={}&uuid={}", encode(&mac), encode(&uuid));
    let base =
        request.base_url().ok_or_else(|| Answer::new(400, TEXT, "the request needs a `Host` header\n"))?;
    let guarded = guard.base_url.as_ref().unwrap_or(&base);
    let config = json!({"ignition": {"version": "3.3.0", "config": {"merge": [
        {"source": format!("{base}/{}", names::ignition(&id))},
        {"source": format!("{guarded}/{GUARDED}{token}/{CONFIG}?{labels}")},
    ]}}});
    Ok(Answer::new(200, "application/json", config.to_string() + "\n"))
}

fn config(world: &World<'_>, guard: &Guard, token: &str, request: &Request<'_>) -> Result<Answer, Answer> {
    let token: Token = token.parse().map_err(refuse)?;
    let machine = Machine::of(&Labels::parse(request.query));
    let id = guard.fetch(token, &machine, request.peer, Instant::now()).map_err(refuse)?;
    let bytes =
        read(guard, world.site, &id)?.ok_or_else(|| Answer::missing("the config no longer exists"))?;
    Ok(Answer::new(200, "application/json", bytes))
}

/// A private config of the tree. An unreadable one is an error, since the machine would otherwise boot without it.
fn read(guard: &Guard, site: &Site, id: &str) -> Result<Option<Vec<u8>>, Answer> {
    // Ids come from profiles of the tree, so they name files within it. A bundle has no private part.
    let Some(directory) = site.place.directory().filter(|_| is_contained_in_url(id)) else {
        return Ok(None);
    };
    match fs::read(private::config(&guard.private(directory, &site.manifest.name), id)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Answer::new(500, TEXT, format!("the machine's private config cannot be read: {error}\n")))
        }
    }
}

fn refuse(refusal: Refusal) -> Answer {
    let status = match refusal {
        Refusal::Unknown => 404,
        Refusal::Stranger | Refusal::Nameless => 403,
        Refusal::Spent | Refusal::Expired => 410,
        Refusal::Full => 503,
    };
    Answer::new(status, TEXT, format!("{refusal}\n"))
}

/// A path that is safe to log: tokens lose their secret.
pub(crate) fn loggable(path: &str) -> Cow<'_, str> {
    let plain = plain_path(path);
    let Some(rest) = guarded(&plain) else { return path.into() };
    let (token, file) = rest.split_once('/').unwrap_or((rest, ""));
    let handle = token.split('-').next().unwrap_or_default();
    let shown: String = handle.chars().take(16).collect();
    format!("/{GUARDED}{shown}-…/{file}").into()
}

/// Marks a token as used when its config leaves completely, before the client can have all of it, and undoes that if
/// the transfer is aborted.
pub(crate) fn heard(guard: &Guard, notice: &Notice<'_>) {
    let (record, is_whole) = match notice {
        Notice::Leaving(record) => (record, true),
        Notice::Answered(record) => (record, record.sent == record.length),
        _ => return,
    };
    let handle = || {
        let (token, file) = guarded(record.path.trim_start_matches('/'))?.split_once('/')?;
        let handle = Handle::from_str_radix(token.split('-').next()?, 16).ok()?;
        (file == CONFIG).then_some(handle)
    };
    if record.status == 200
        && let Some(handle) = handle()
    {
        match is_whole {
            true => guard.left(handle),
            false => guard.broke_off(handle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_logged_however_its_path_is_written() {
        let token = "0123456789abcdef-00112233445566778899aabbccddeeff";
        for path in [
            format!("/guarded/{token}/config.ign"),
            format!("//guarded/{token}/config.ign"),
            format!("/guarded//{token}//config.ign"),
            format!("/%67uarded/{token}/config.ign"),
            format!("/guarded%2F{}/config.ign", token.replace('-', "%2d")),
        ] {
            assert_eq!(loggable(&path), "/guarded/0123456789abcdef-…/config.ign", "{path}");
        }
        assert_eq!(loggable("/guarded/00112233445566778899aabbccddeeff"), "/guarded/0011223344556677-…/");
        assert_eq!(loggable("/ipxe"), "/ipxe");
    }
}
