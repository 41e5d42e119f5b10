//! A registry's demands in a 401 answer, read from `WWW-Authenticate` as registries really write it.
//!
//! http-auth parses well-formed values. The others (two blanks after the scheme, `;` for `,`, single quotes, URLs
//! without quotes, a quote that is never closed) are read as far as possible: skopeo and containerd are no stricter,
//! and one garbage value hides no other (regclient/regclient#265).

use http_auth::ChallengeParser;

/// The kind of login that a registry demands.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A user and a password with each request.
    Basic,
    /// A token, granted by a token service.
    Bearer {
        /// The token service's URL.
        realm: String,
        /// The token service's name for the registry.
        service: Option<String>,
        /// The access that the token must grant.
        scope: Option<String>,
    },
}

impl Challenge {
    /// Whether both are the same demand, with the same token service.
    pub(crate) fn is_by_the_same(&self, other: &Challenge) -> bool {
        match (self, other) {
            (Challenge::Bearer { realm, .. }, Challenge::Bearer { realm: other, .. }) => realm == other,
            (one, other) => one == other,
        }
    }
}

/// A scheme in lower case, and its parameters.
type Parsed = (String, Vec<(String, String)>);

/// The strongest challenge that prebake understands.
pub fn choose<'h>(values: impl Iterator<Item = &'h str>) -> Option<Challenge> {
    let mut chosen = None;
    for (scheme, params) in values.flat_map(parse) {
        let param = |name: &str| {
            let found = params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        match (scheme.as_str(), param("realm")) {
            ("bearer", Some(realm)) => {
                return Some(Challenge::Bearer { realm, service: param("service"), scope: param("scope") });
            }
            ("basic", _) => chosen = Some(Challenge::Basic),
            _ => {}
        }
    }
    chosen
}

fn parse(value: &str) -> Vec<Parsed> {
    let well_formed: Result<Vec<_>, _> = ChallengeParser::new(value).collect();
    match well_formed {
        Ok(challenges) => challenges
            .iter()
            .map(|challenge| {
                let params = challenge.params.iter();
                let params = params.map(|(key, value)| ((*key).to_owned(), value.to_unescaped()));
                (challenge.scheme.to_ascii_lowercase(), params.collect())
            })
            .collect(),
        Err(_) => parse_loosely(value),
    }
}

/// Words followed by `=` are parameters, other words are schemes.
fn parse_loosely(mut rest: &str) -> Vec<Parsed> {
    let mut challenges: Vec<Parsed> = Vec::new();
    let is_between = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
    loop {
        rest = rest.trim_start_matches(is_between);
        let end = rest.find(|c: char| is_between(c) || c == '=').unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        match behind.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, behind) = value_of(value.trim_start());
                if let Some((_, params)) = challenges.last_mut() {
                    params.push((word.to_owned(), value));
                }
                rest = behind;
            }
            None if word.is_empty() => return challenges,
            None => {
                challenges.push((word.to_ascii_lowercase(), Vec::new()));
                rest = behind;
            }
        }
    }
}

/// Splits a value off the start of a text, and returns it with the rest.
fn value_of(text: &str) -> (String, &str) {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        let end = text.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';')).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => value.push(c),
            '\\' => {}
            _ if c == quote => return (value, &text[at + 1..]),
            _ => value.push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let own = |text: Option<&str>| text.map(str::to_owned);
        Some(Challenge::Bearer { realm: realm.into(), service: own(service), scope: own(scope) })
    }

    #[test]
    fn a_bearer_challenge_is_preferred_and_read_whole() {
        let values = [
            "Basic realm=\"x\"",
            "Bearer realm=\"https://auth.example/token?x=1\",service=\"reg\",scope=\"repository:a/b:pull,push\"",
        ];
        let expected =
            bearer("https://auth.example/token?x=1", Some("reg"), Some("repository:a/b:pull,push"));
        assert_eq!(choose(values.into_iter()), expected);
        assert_eq!(choose(["Negotiate, basic realm=\"x\""].into_iter()), Some(Challenge::Basic));
        assert_eq!(choose(["Bearer", "Digest nonce=1", "", "==="].into_iter()), None);
    }

    /// regclient/regclient#265, goharbor/harbor, genuinetools/reg#72.
    #[test]
    fn malformed_challenges_are_read_as_far_as_they_go_and_hide_no_other() {
        let plain = || bearer("http://t/token", Some("reg"), None);
        let cases: [(&[&str], Option<Challenge>); 17] = [
            (&["Basic realm=/\"", "Bearer realm=\"http://t/token\",service=\"reg\""], plain()),
            (&["Negotiate YII=, x", "Bearer realm=\"http://t/token\",service=\"reg\""], plain()),
            (&["Basic realm=/\", Bearer realm=\"http://t/token\",service=\"reg\""], plain()),
            (&["Bearer  realm=\"http://t/token\",  service=\"reg\""], plain()),
            (&["Bearer realm=\"http://t/token\";service=\"reg\""], plain()),
            (&["Bearer realm='http://t/token',service='reg'"], plain()),
            (&["Bearer realm=http://t/token,service=reg"], plain()),
            (&["Bearer realm=\"http://t/token\",service=\"reg\","], plain()),
            (&["Bearer realm=\"http://t/token\" service=\"reg\""], plain()),
            (&["Bearer realm = \"http://t/token\" , service = reg"], plain()),
            (&["bearer REALM=\"http://t/token\",SERVICE=\"reg\",scope=\"\""], plain()),
            (&["Bearer error=\"x\",realm=\"http://t/token\",service=\"reg"], plain()),
            (&["Bearer service=\"reg\"", "Bearer realm=\"http://t/token\",service=\"reg\""], plain()),
            (&["Basic realm=/\""], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (&["BASIC realm=\"Sonatype Nexus\", charset=\"UTF-8\""], Some(Challenge::Basic)),
            (&["Digest realm=\"a\\\"b"], None),
        ];
        for (values, expected) in cases {
            assert_eq!(choose(values.iter().copied()), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_parser_panic_or_run_on(value in "[ -~]{0,60}|(Bearer|Basic) [ -~äß]{0,60}") {
            choose([value.as_str()].into_iter());
        }
    }
}
