//! Plays iPXE: asks a server for a machine's script, and loads what that names into files that QEMU takes.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use reqwest::{Client, Response};

use super::{Error, Player, places};
use crate::base::disk;
use crate::format::cpio::padding::padding;
use crate::machine::vm::{HOST, Start};
use crate::tree::names::Endpoint;

/// Loads what a server at a loopback address gives a machine of QEMU's network, below a directory.
///
/// # Errors
/// The server gives no script, or not what that names; or the files cannot be kept.
pub(crate) async fn load(server: SocketAddr, player: &Player, directory: &Path) -> Result<Start, Error> {
    let loader =
        Loader { client: Client::builder().no_proxy().build().map_err(|error| fault("", &error))?, server };
    let mac = player.mac.to_string().replace(':', "-");
    let mut url = format!("{}?mac={mac}&arch={}", Endpoint::Ipxe.path(), player.arch.ipxe());
    for (key, value) in [("uuid", &player.uuid), ("serial", &player.serial)] {
        if let Some(value) = value {
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            url += &format!("&{key}={value}");
        }
    }
    let text = loader.get(&url).await?.text().await.map_err(|error| fault(&url, &error))?;
    let script = Script::read(&text).map_err(|why| Error::Script { url, why })?;
    let [kernel, initrd] = places(directory);
    loader.fetch(&[script.kernel], &kernel).await?;
    loader.fetch(&script.initrds, &initrd).await?;
    Ok(Start::Files { kernel, initrd, args: script.args.to_owned() })
}

struct Loader {
    client: Client,
    server: SocketAddr,
}

impl Loader {
    /// The answer to a machine: it names the server as it sees that, and URLs in the answer do so, too.
    async fn get(&self, url: &str) -> Result<Response, Error> {
        let request = self.client.get(format!("http://{}{url}", self.server));
        let request = request.header("host", format!("{HOST}:{}", self.server.port()));
        let answer = request.send().await.map_err(|error| fault(url, &error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let why = answer.text().await.unwrap_or_default();
        Err(Error::Load {
            url: url.into(),
            why: format!("{status}, {}", why.lines().next().unwrap_or_default()),
        })
    }

    /// Puts files one behind the other. The kernel expects each archive at a multiple of four
    /// (Documentation/driver-api/early-userspace/buffer-format.rst).
    async fn fetch(&self, urls: &[&str], target: &Path) -> Result<(), Error> {
        let failed = |error| disk::Error::io("write", target)(error);
        let mut file = File::create(target).map_err(failed)?;
        for url in urls {
            let mut answer = self.get(url).await?;
            let mut length = 0;
            while let Some(bytes) = answer.chunk().await.map_err(|error| fault(url, &error))? {
                file.write_all(&bytes).map_err(failed)?;
                length += bytes.len() as u64;
            }
            let zeros = vec![0; padding(length) as usize];
            file.write_all(&zeros).map_err(failed)?;
        }
        Ok(())
    }
}

fn fault(url: &str, error: &reqwest::Error) -> Error {
    Error::Load { url: url.into(), why: error.to_string() }
}

/// A script of iPXE that boots a kernel.
#[derive(Debug, PartialEq, Eq)]
struct Script<'t> {
    kernel: &'t str,
    args: &'t str,
    initrds: Vec<&'t str>,
}

impl Script<'_> {
    /// Reads what `/ipxe` sends for a tree.
    fn read(text: &str) -> Result<Script<'_>, String> {
        let mut script = Script { kernel: "", args: "", initrds: Vec::new() };
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("kernel", rest)) => {
                    (script.kernel, script.args) = rest.split_once(' ').unwrap_or((rest, ""))
                }
                Some(("initrd", url)) => script.initrds.push(url),
                _ => {}
            }
        }
        let urls = script.initrds.iter().chain([&script.kernel]);
        if let Some(far) = urls.into_iter().find(|url| !url.starts_with('/')) {
            return Err(match far.is_empty() {
                true => "it names no kernel".into(),
                false => format!("{far} is not of this server"),
            });
        }
        Ok(script)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_followed_line_by_line() {
        let text = "#!ipxe\nkernel /assets/k a=1 b=2\ninitrd /assets/1\ninitrd /assets/2\nboot\n";
        let script = Script { kernel: "/assets/k", args: "a=1 b=2", initrds: vec!["/assets/1", "/assets/2"] };
        assert_eq!(Script::read(text), Ok(script));
        assert!(Script::read("#!ipxe\nexit\n").unwrap_err().contains("no kernel"));
        assert!(Script::read("#!ipxe\nkernel http://x/k\n").unwrap_err().contains("http://x/k"));
    }
}
