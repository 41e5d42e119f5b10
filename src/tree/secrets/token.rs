//! Secrets that are recognised by their prefix. Their issuers gave them prefixes so that scanners can find them: one
//! row each, below the document that defines it.

use super::kind::{Kind, base64, base64_url};

/// Whether a byte may be part of a token.
type Letters = fn(u8) -> bool;

/// A prefix, the bytes that follow, and their minimum number.
pub(super) struct Shape {
    prefix: &'static str,
    letters: Letters,
    least: usize,
    kind: Kind,
}

const fn shape(prefix: &'static str, letters: Letters, least: usize, kind: Kind) -> Shape {
    Shape { prefix, letters, least, kind }
}

const fn token(prefix: &'static str, letters: Letters, least: usize) -> Shape {
    shape(prefix, letters, least, Kind::ServiceToken)
}

#[rustfmt::skip]
static SHAPES: [Shape; 145] = [
    // age: Bech32 of 32 bytes (C2SP age.md); plugins' identities (age's plugin protocol, `AGE-PLUGIN-NAME-1…`).
    shape("AGE-SECRET-KEY-1", upper, 58, Kind::AgeKey),
    shape("AGE-SECRET-KEY-PQ-1", upper, 58, Kind::AgeKey),
    shape("AGE-PLUGIN-", plugin, 20, Kind::AgeKey),
    // minisign and signify: base64 of `Ed`, the algorithm of the passphrase (`Sc`, none or `BK`) and that of the
    // checksum; a public key has neither.
    shape("RWRTY0Iy", base64, 200, Kind::MinisignKey),
    shape("RWQAAEIy", base64, 200, Kind::MinisignKey),
    shape("RWRCSw", base64, 130, Kind::MinisignKey),
    // The body of OpenSSH's format without its head: base64 of `openssh-key-v1` (PROTOCOL.key).
    shape("b3BlbnNzaC1rZXktdjEA", base64, 60, Kind::PrivateKey),
    // NATS' seeds: base32 of the kind and 32 bytes (nkeys, README).
    shape("SUA", upper, 55, Kind::PrivateKey),
    shape("SAA", upper, 55, Kind::PrivateKey),
    shape("SOA", upper, 55, Kind::PrivateKey),
    // K3s and RKE2: `K10`, the digest of the CA, `::`, then user and password (K3s docs, `token`).
    shape("K10", hex, 64, Kind::ClusterToken),
    // AWS: 16 letters of base32 after the kind of the id (IAM's reference of ids); Bedrock's keys.
    shape("AKIA", upper, 16, Kind::CloudKey),
    shape("ASIA", upper, 16, Kind::CloudKey),
    shape("ABSK", base64, 60, Kind::CloudKey),
    // Google: API keys, access and refresh tokens (OAuth 2.0 for web server applications), client secrets.
    shape("AIza", base64_url, 35, Kind::CloudKey),
    shape("ya29.", base64_url, 30, Kind::CloudKey),
    shape("1//0", base64_url, 40, Kind::CloudKey),
    shape("GOCSPX-", base64_url, 24, Kind::CloudKey),
    // Alibaba's and Tencent's ids of access keys; Yandex' API keys, cookies and IAM tokens.
    shape("LTAI", alnum, 16, Kind::CloudKey),
    shape("AKID", alnum, 28, Kind::CloudKey),
    shape("AQVN", base64_url, 35, Kind::CloudKey),
    shape("y0_", base64_url, 36, Kind::CloudKey),
    // DigitalOcean: personal, OAuth and refresh tokens; Spaces' ids.
    shape("dop_v1_", hex, 40, Kind::CloudKey),
    shape("doo_v1_", hex, 40, Kind::CloudKey),
    shape("dor_v1_", hex, 40, Kind::CloudKey),
    // Scaleway's ids of access keys; Fly.io's tokens; Cloudflare's CA keys; Heroku's, Render's, Netlify's and Vercel's tokens.
    shape("SCW", upper, 17, Kind::CloudKey),
    shape("fo1_", base64_url, 40, Kind::CloudKey),
    shape("fm2_", base64, 60, Kind::CloudKey),
    shape("fm1r_", base64, 60, Kind::CloudKey),
    shape("v1.0-", hex_dashed, 100, Kind::CloudKey),
    shape("HRKU-", base64_url, 30, Kind::CloudKey),
    shape("rnd_", alnum, 28, Kind::CloudKey),
    shape("nfp_", alnum, 30, Kind::CloudKey),
    shape("vcp_", alnum, 24, Kind::CloudKey),
    // Databricks; PlanetScale; Supabase; Confluent's and Elastic's clouds; Aiven.
    shape("dapi", hex, 32, Kind::CloudKey),
    shape("pscale_tkn_", dotted, 30, Kind::CloudKey),
    shape("pscale_pw_", dotted, 30, Kind::CloudKey),
    shape("pscale_oauth_", dotted, 30, Kind::CloudKey),
    shape("sbp_", hex, 40, Kind::CloudKey),
    shape("sb_secret_", base64_url, 24, Kind::CloudKey),
    shape("cflt", base64, 56, Kind::CloudKey),
    shape("essu_", base64, 40, Kind::CloudKey),
    shape("AVNS_", base64_url, 16, Kind::CloudKey),
    // GitHub ("About authentication to GitHub", token formats).
    token("ghp_", word, 36),
    token("gho_", word, 36),
    token("ghu_", word, 36),
    token("ghs_", word, 36),
    token("ghr_", word, 36),
    token("github_pat_", word, 60),
    // GitLab ("Token overview", prefixes).
    token("glpat-", dotted, 20),
    token("gldt-", dotted, 20),
    token("glrt-", dotted, 20),
    token("glrtr-", dotted, 20),
    token("glcbt-", dotted, 20),
    token("glptt-", dotted, 20),
    token("glft-", dotted, 20),
    token("glimt-", dotted, 20),
    token("glagent-", dotted, 20),
    token("glsoat-", dotted, 20),
    token("gloas-", dotted, 20),
    token("glffct-", dotted, 20),
    token("GR1348941", base64_url, 20),
    // Gitea's and Forgejo's runners have no prefix. Bitbucket's app passwords and Atlassian's API tokens.
    token("ATBB", alnum, 28),
    token("ATATT3", base64_url, 60),
    token("ATCTT3", base64_url, 60),
    // Slack ("Token types"; incoming webhooks); Discord's and Teams' webhooks are in `HOOKS`.
    token("xoxb-", base64_url, 24),
    token("xoxp-", base64_url, 24),
    token("xoxa-", base64_url, 24),
    token("xoxe-", base64_url, 24),
    token("xoxe.", dotted, 24),
    token("xoxr-", base64_url, 24),
    token("xoxs-", base64_url, 24),
    token("xapp-", base64_url, 24),
    // HashiCorp: Vault's service, batch and recovery tokens ("Tokens"), Boundary's; HCP Terraform's are in `INFIXES`.
    token("hvs.", base64_url, 20),
    token("hvb.", base64_url, 20),
    token("hvr.", base64_url, 20),
    token("at_", alnum, 40),
    // Overlay networks: Tailscale ("Key prefixes"), NetBird, ngrok's API keys; Cloudflare's tunnels have no prefix
    // (`eyJ…`).
    token("tskey-", base64_url, 16),
    token("nbp_", alnum, 30),
    token("tsoidc-", base64_url, 16),
    // Registries of packages and images: npm, PyPI (a macaroon), RubyGems, Docker ("Personal access tokens"), JFrog,
    // Clojars, Terraform modules, NuGet, crates.io; Quay has no prefix.
    token("npm_", alnum, 36),
    token("pypi-AgE", base64_url, 40),
    token("rubygems_", hex, 40),
    token("dckr_pat_", base64_url, 20),
    token("dckr_oat_", base64_url, 20),
    token("AKCp", alnum, 60),
    token("cmVmdGtu", alnum, 50),
    token("CLOJARS_", alnum, 50),
    token("oy2", lower, 43),
    token("cio", alnum, 32),
    // AI models: Hugging Face, OpenAI, Anthropic, Groq, xAI, Replicate, Perplexity, NVIDIA, OpenRouter; Google's are
    // above.
    token("hf_", alnum, 30),
    token("api_org_", alnum, 30),
    token("sk-proj-", base64_url, 20),
    token("sk-svcacct-", base64_url, 20),
    token("sk-admin-", base64_url, 20),
    token("sk-ant-", base64_url, 20),
    token("sk-or-v1-", hex, 32),
    token("sk-", alnum, 32),
    token("gsk_", alnum, 40),
    token("xai-", alnum, 40),
    token("r8_", alnum, 30),
    token("pplx-", alnum, 40),
    token("nvapi-", base64_url, 40),
    // Payment: Stripe ("API keys"; webhooks), Square, Shopify, Flutterwave, EasyPost.
    token("sk_live_", alnum, 16),
    token("sk_test_", alnum, 16),
    token("rk_live_", alnum, 16),
    token("rk_test_", alnum, 16),
    token("whsec_", base64, 24),
    token("sq0csp-", base64_url, 30),
    token("sq0atp-", base64_url, 22),
    token("shpat_", hex, 32),
    token("shpss_", hex, 32),
    token("shpca_", hex, 32),
    // Mail and messages: SendGrid, Brevo, Twilio's keys; Mailchimp's and Mailgun's have no prefix.
    token("SG.", dotted, 40),
    token("xkeysib-", hex_dashed, 60),
    // Monitoring: Grafana ("Service account tokens"), New Relic, Sentry ("Auth tokens"), Dynatrace, Honeycomb, PostHog,
    // SonarQube, Snyk; Datadog's and PagerDuty's have no prefix.
    token("glsa_", word, 36),
    token("glc_", base64, 32),
    token("NRAK-", upper, 27),
    token("sntrys_", base64, 40),
    token("sntryu_", hex, 40),
    token("dt0c01.", dotted, 60),
    token("hcaik_", alnum, 40),
    token("phx_", alnum, 40),
    token("squ_", hex, 40),
    token("sqp_", hex, 40),
    token("sqa_", hex, 40),
    // Secret managers and CI: Doppler, 1Password's service accounts and secret keys, Pulumi, CircleCI, Buildkite,
    // Prefect.
    token("dp.pt.", alnum, 40),
    token("dp.st.", dotted, 40),
    token("dp.ct.", alnum, 40),
    token("dp.sa.", alnum, 40),
    token("dp.scim.", alnum, 40),
    token("dp.audit.", alnum, 40),
    token("ops_eyJ", base64_url, 60),
    token("A3-", upper_dashed, 33),
    token("pul-", hex, 40),
    token("CCIPAT_", word, 40),
    token("bkua_", hex, 40),
    token("pnu_", alnum, 36),
    // Other developer services: Linear, Notion, Figma, Postman, Contentful, Sourcegraph, Mapbox' secret tokens;
    // Airtable's are in `INFIXES`.
    token("lin_api_", alnum, 40),
    token("ntn_", alnum, 40),
    token("figd_", base64_url, 40),
    token("PMAK-", hex_dashed, 59),
    token("CFPAT-", base64_url, 43),
    token("sgp_", word, 40),
    token("sk.eyJ", dotted, 60),
];

/// Tokens that are recognised by a part in their middle: number of bytes before it, the part, the bytes after it and
/// their minimum number.
static INFIXES: [(usize, &str, Letters, usize); 4] = [
    // HCP Terraform ("API tokens"): 14 letters, the version, 67 letters.
    (14, ".atlasv1.", base64_url, 30),
    // Entra ID's client secrets: three letters, a digit, `Q~`.
    (3, "8Q~", entra, 31),
    (3, "7Q~", entra, 31),
    // Telegram's bots: the id, `:`, and 35 characters that begin with `AA`; words end at `:`, so whole lines are
    // searched.
    (8, ":AA", base64_url, 30),
];

/// URLs that include the permission to post: anybody who has one may use it.
static HOOKS: [(&str, usize); 6] = [
    ("hooks.slack.com/services/T", 20),
    ("hooks.slack.com/workflows/T", 20),
    ("discord.com/api/webhooks/", 40),
    ("discordapp.com/api/webhooks/", 40),
    (".webhook.office.com/webhookb2/", 40),
    ("api.telegram.org/bot", 40),
];

/// The prefixes in the table, in its order.
pub(super) fn prefixes() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.prefix)
}

/// Length of a row of base64 digits around a match that makes the match a part of something else.
const ROW: usize = 160;

/// Kind of the token at a byte of a line where a prefix of the table was found. `is_row` means that the line continues
/// the digits of the line before.
pub(super) fn shaped(line: &str, at: usize, shape: usize, is_row: bool) -> Option<Kind> {
    let (bytes, shape) = (line.as_bytes(), SHAPES.get(shape)?);
    let rest = bytes[at..].strip_prefix(shape.prefix.as_bytes())?;
    // A token does not begin in the middle of a word, so no letter or digit comes before it.
    let before = at.checked_sub(1).map(|before| bytes[before]);
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let secret =
        &rest[..rest.iter().take(2 * shape.least).take_while(|byte| (shape.letters)(**byte)).count()];
    // Tokens in AWS' documentation end like this.
    if secret.len() < shape.least || secret.ends_with(b"EXAMPLE") {
        return None;
    }
    let digit = |byte: &&u8| base64(**byte) || base64_url(**byte);
    let ahead = bytes[..at].iter().rev().take(ROW).take_while(digit).count();
    let behind = rest.iter().take(ROW).take_while(digit).count();
    let inside = ahead > 0 && ahead + behind >= ROW;
    let goes_on = ahead == 0 && is_row && long_row(rest);
    (!inside && !goes_on).then_some(shape.kind)
}

/// Whether the rest of a line is one row of base64 digits.
fn long_row(rest: &[u8]) -> bool {
    rest.len() >= 24 && rest.iter().take(ROW).all(|byte| base64(*byte) || *byte == b'=')
}

/// Offsets of tokens that are recognised by their middle, and of URLs with which anybody may post.
pub(super) fn in_line(line: &str) -> Vec<usize> {
    /// Upper limit for the part of a token before its middle, in bytes.
    const MAX_AHEAD: usize = 64;
    let mut found = Vec::new();
    for (before, infix, letters, least) in &INFIXES {
        for at in memchr::memmem::find_iter(line.as_bytes(), infix) {
            let digits =
                |bytes: &[u8]| bytes.iter().take(*least).take_while(|byte| (letters)(**byte)).count();
            let behind = digits(&line.as_bytes()[at + infix.len()..]);
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_~.".contains(byte) && *infix != ":AA";
            let ahead =
                line.as_bytes()[..at].iter().rev().take(MAX_AHEAD).take_while(|byte| plain(byte)).count();
            let numbered = *infix != ":AA" || line.as_bytes()[at - ahead..at].iter().all(u8::is_ascii_digit);
            if behind >= *least && ahead >= *before && numbered {
                found.push(at - ahead);
            }
        }
    }
    for (hook, least) in &HOOKS {
        for at in memchr::memmem::find_iter(line.as_bytes(), hook) {
            let rest = &line.as_bytes()[at + hook.len()..];
            let digit = |byte: &&u8| base64_url(**byte) || b"/:@".contains(byte);
            let length = rest.iter().take(2 * least).take_while(digit).count();
            if length >= *least && is_varied(&rest[..length]) {
                found.push(at);
            }
        }
    }
    found
}

/// Whether a token is more than a repeated character, such as the `x` or `0` of examples.
fn is_varied(secret: &[u8]) -> bool {
    secret.iter().any(|byte| !secret.first().is_some_and(|first| first.eq_ignore_ascii_case(byte)))
}

fn alnum(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn upper_dashed(byte: u8) -> bool {
    upper(byte) || byte == b'-'
}

/// Bech32 after the plugin's name.
fn plugin(byte: u8) -> bool {
    upper(byte) || b"-+._".contains(&byte)
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn dotted(byte: u8) -> bool {
    base64_url(byte) || byte == b'.' || byte == b'='
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn hex_dashed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn entra(byte: u8) -> bool {
    base64_url(byte) || b"~.".contains(&byte)
}
