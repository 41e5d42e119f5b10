//! Releases as their server has them: which version a wish means, and which file of a release is missing.

use crate::base::error::{self, Advice, Exit};
use crate::flatcar::board::{Board, CURRENT, SIGNATURE, VERSION_TXT, parse_version_txt};
use crate::flatcar::version::{Version, VersionWish};
use crate::source::http;

/// Reasons why a release cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The server does not have this release.
    #[error("there is no Flatcar release {version} in channel {channel} for {board}")]
    UnknownRelease {
        /// Channel or LTS stream.
        channel: String,
        /// Version, or `current`.
        version: String,
        /// Board, such as `amd64-usr`.
        board: &'static str,
        /// The server's answer.
        source: http::Error,
    },
    /// The release exists, but lacks a file.
    #[error("Flatcar {version} exists in channel {channel} for {board}, but lacks {file}")]
    Incomplete {
        /// Channel or LTS stream.
        channel: String,
        /// The version's number.
        version: String,
        /// Board, such as `amd64-usr`.
        board: &'static str,
        /// Name of the missing file.
        file: String,
        /// The previously locked version, if it is another one.
        before: Option<String>,
        /// The server's answer.
        source: http::Error,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::UnknownRelease
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::UnknownRelease { .. } => {
                "check `release:` in the recipe; `version: latest` is the channel's current version".into()
            }
            Error::Incomplete { before, .. } => {
                let earlier = match before {
                    Some(version) => format!("`version: {version}`, which was locked before"),
                    None => "the release before it (`version: X.Y.Z`)".into(),
                };
                return Some(format!(
                    "its publication, or the mirror's copy, is not complete: pin {earlier}, or try again later (flatcar.org/releases lists them)"
                ));
            }
        })
    }
}

/// Resolves a wished version: `current` to the content of `current/version.txt`, any other to itself. That text is
/// not trusted: the files of the version it names are verified one by one.
pub(crate) async fn resolve(
    board: &Board,
    wish: &VersionWish,
    http: &http::Http<'_>,
) -> Result<Version, error::Error> {
    let VersionWish::Latest = wish else {
        let VersionWish::Exactly(version) = wish else { unreachable!("two variants") };
        return Ok(*version);
    };
    let url = board.url(CURRENT, VERSION_TXT);
    let (bytes, asked) = http.text(&url).await.map_err(|e| missing(board, CURRENT, e))?;
    Ok(parse_version_txt(&asked.to_string(), &bytes)?)
}

/// The error for a missing file that a release should have: finds out whether the release or only the file is
/// missing. `before` is the previously locked version.
pub(crate) async fn missing_file(
    board: &Board,
    version: &str,
    before: Option<&str>,
    http: &http::Http<'_>,
    error: http::Error,
) -> error::Error {
    let signature = format!("{VERSION_TXT}{SIGNATURE}");
    let file = error.missing_file().filter(|file| *file != VERSION_TXT && *file != signature);
    let Some(mut file) = file.map(str::to_owned) else { return missing(board, version, error) };
    // Signatures are requested first; in most cases the file itself is missing too.
    if let Some(signed) = file.strip_suffix(SIGNATURE) {
        let url = board.url(version, signed);
        let ask = async |url: &str, _: &mut http::Patience| {
            http.get_part(url, None, http::Part { range: 0..1, validator: None }).await.map(drop)
        };
        if http.each(&url, &http.tells(&url), ask).await.is_err_and(|error| error.is_missing()) {
            file = signed.to_owned();
        }
    }
    match http.small(&board.url(version, &signature)).await {
        Ok(_) => Error::Incomplete {
            channel: board.channel.clone(),
            version: version.into(),
            board: board.arch.board(),
            file,
            before: before.filter(|before| *before != version).map(str::to_owned),
            source: error,
        }
        .into(),
        Err(_) => missing(board, version, error),
    }
}

/// Turns the error about a missing file into "unknown release"; other errors stay as they are.
pub(crate) fn missing(board: &Board, version: &str, error: http::Error) -> error::Error {
    match error.is_missing() {
        true => Error::UnknownRelease {
            channel: board.channel.clone(),
            version: version.into(),
            board: board.arch.board(),
            source: error,
        }
        .into(),
        false => error.into(),
    }
}
