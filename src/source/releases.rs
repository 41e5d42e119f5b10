//! Releases as their server has them: which version a wish means, and which file of a release is missing.

use crate::base::error::{Advice, Exit};
use crate::flatcar::board::{Board, CURRENT, SIGNATURE, VERSION_TXT, parse_version_txt};
use crate::flatcar::version::{Version, VersionWish};
use crate::source::http;

/// Why a release cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server has no such file.
    #[error("there is no Flatcar release {version} in channel {channel} for {board}")]
    UnknownRelease {
        /// Channel.
        channel: String,
        /// Version or `current`.
        version: String,
        /// Board.
        board: &'static str,
        /// What the server said.
        source: http::Error,
    },
    /// The release is there, and a file of it is not.
    #[error("Flatcar {version} exists in channel {channel} for {board}, but lacks {file}")]
    Incomplete {
        /// Channel.
        channel: String,
        /// Version.
        version: String,
        /// Board.
        board: &'static str,
        /// The file.
        file: String,
        /// The version that was locked before, if it was another one.
        before: Option<String>,
        /// What the server said.
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

/// The version that a wish means: itself, or what `current/version.txt` says. That text is not trusted: the files
/// of the version it names are verified one by one.
pub async fn resolve(
    board: &Board,
    wish: &VersionWish,
    http: &http::Http<'_>,
) -> Result<Version, crate::base::error::Error> {
    let VersionWish::Latest = wish else {
        let VersionWish::Exactly(version) = wish else { unreachable!("two variants") };
        return Ok(*version);
    };
    let url = board.url(CURRENT, VERSION_TXT);
    let (bytes, asked) = http.text(&url).await.map_err(|e| missing(board, CURRENT, e))?;
    Ok(parse_version_txt(&asked.to_string(), &bytes)?)
}

/// The same, for a file that a release ought to have: looks whether it is the release that is missing, or the file.
/// `before` is the version that was locked.
pub async fn missing_file(
    board: &Board,
    version: &str,
    before: Option<&str>,
    http: &http::Http<'_>,
    error: http::Error,
) -> crate::base::error::Error {
    let signature = format!("{VERSION_TXT}{SIGNATURE}");
    let file = error.missing_file().filter(|file| *file != VERSION_TXT && *file != signature);
    let Some(mut file) = file.map(str::to_owned) else { return missing(board, version, error) };
    // Signatures are asked for first; mostly the file itself is not there either.
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

/// Says of a missing file that the release is unknown; other failures stay what they are.
pub fn missing(board: &Board, version: &str, error: http::Error) -> crate::base::error::Error {
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
