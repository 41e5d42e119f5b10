//! The boot override: what is sent to a BMC, and whether what it then has is what was meant.
//!
//! Owns the ladder of bodies. Vendors disagree: an unchanged mode starts a job on iDRACs and is read-only on iLOs, so that the first body
//! has only what differs (ironcore-dev/metal-operator#80, PR#107, ansible-collections/community.general#3509); iLOs refuse a target of
//! `None` (metal-operator PR#998); Dell's 13th generation refuses the frequency beside the target (community.general#5091); some need the
//! mode again (community.general PR#11543). Each further body is tried only where the one before was refused or had no effect.

use serde_json::{Map, Value, json};

use super::document::Boot;

/// The target from which a machine is to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'u> {
    /// A URL, once.
    Http(&'u str),
    /// PXE, once.
    Pxe,
    /// The firmware's own order.
    Usual,
}

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Members that differ from those of the BMC.
    Differing,
    /// Target and frequency.
    Pair,
    /// The target without its frequency.
    TargetAlone,
    /// Everything, the mode as it is.
    All,
}

/// The scopes in the order in which they are tried.
pub const LADDER: [Scope; 4] = [Scope::Differing, Scope::Pair, Scope::TargetAlone, Scope::All];

impl Wish<'_> {
    /// `BootSourceOverrideTarget` for it. One that is to be ignored keeps its value: `None` is refused by iLOs.
    fn target(self) -> Option<&'static str> {
        match self {
            Wish::Http(_) => Some("UefiHttp"),
            Wish::Pxe => Some("Pxe"),
            Wish::Usual => None,
        }
    }

    fn enabled(self) -> &'static str {
        match self {
            Wish::Http(_) | Wish::Pxe => "Once",
            Wish::Usual => "Disabled",
        }
    }

    /// Why a BMC cannot do it; `None` if it can, or does not say.
    pub fn impossible(self, now: &Boot) -> Option<&'static str> {
        let lacks = |list: &Option<Vec<String>>, word: &str| {
            list.as_ref().is_some_and(|list| !list.iter().any(|one| one == word))
        };
        match self {
            // A service that does not list its targets may ignore this one; PXE is as old as BMCs are.
            Wish::Http(_) if now.targets.is_none() || lacks(&now.targets, "UefiHttp") => {
                Some("its BMC has no UEFI HTTP boot")
            }
            Wish::Http(_) if now.mode.as_deref() == Some("Legacy") => {
                Some("its firmware boots in legacy mode")
            }
            Wish::Pxe if lacks(&now.targets, "Pxe") => Some("its BMC does not offer PXE"),
            Wish::Http(_) | Wish::Pxe if lacks(&now.frequencies, "Once") => {
                Some("its BMC has no boot override that is for one boot")
            }
            _ => None,
        }
    }

    /// The body of a PATCH; `None` if the scope leaves nothing to send.
    pub fn body(self, now: &Boot, scope: Scope) -> Option<Value> {
        let mut boot = Map::new();
        let mut set = |key: &str, value: &str, now: &Option<String>, wanted: bool| {
            if wanted || (scope == Scope::Differing && now.as_deref() != Some(value)) {
                boot.insert(key.into(), json!(value));
            }
        };
        let is_whole = matches!(scope, Scope::Pair | Scope::All);
        if let Wish::Http(url) = self {
            // The URL is before the target that uses it, for services that apply one property after the other.
            set("HttpBootUri", url, &now.uri, scope != Scope::Differing);
        }
        match self.target() {
            Some(target) => {
                set("BootSourceOverrideTarget", target, &now.target, is_whole || scope == Scope::TargetAlone);
            }
            // Some want a target beside the frequency; it is the one that they have.
            None => match now.target.as_deref().filter(|target| *target != "None") {
                Some(target) if is_whole => set("BootSourceOverrideTarget", target, &now.target, true),
                _ => {}
            },
        }
        // Alone, a target says nothing where nothing was to be targeted.
        let with_frequency = is_whole || (scope == Scope::TargetAlone && self == Wish::Usual);
        set("BootSourceOverrideEnabled", self.enabled(), &now.enabled, with_frequency);
        if let Some(mode) = now.mode.as_deref().filter(|_| scope == Scope::All) {
            boot.insert("BootSourceOverrideMode".into(), json!(mode));
        }
        (!boot.is_empty()).then(|| json!({ "Boot": boot }))
    }

    /// Whether a BMC has it: `Some(true)` if for one boot, `Some(false)` if for each.
    pub fn held(self, now: &Boot) -> Option<bool> {
        let enabled = now.enabled.as_deref();
        let is_target = self.target().is_none_or(|target| now.target.as_deref() == Some(target));
        let is_url = match self {
            // A service that took the URL and does not show it is believed.
            Wish::Http(url) => now.uri.as_deref().is_none_or(|uri| uri.is_empty() || uri == url),
            _ => true,
        };
        match self {
            Wish::Usual => {
                (enabled == Some("Disabled") || now.target.as_deref() == Some("None")).then_some(false)
            }
            _ if !is_target || !is_url => None,
            _ => match enabled {
                Some("Once") => Some(true),
                Some("Continuous") => Some(false),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(target: &str, enabled: &str) -> Boot {
        Boot {
            target: Some(target.into()),
            enabled: Some(enabled.into()),
            mode: Some("UEFI".into()),
            ..Boot::default()
        }
    }

    /// ironcore-dev/metal-operator#80, PR#107; ansible-collections/community.general#3509.
    #[test]
    fn only_what_differs_is_sent_first_and_the_mode_last() {
        let now = boot("None", "Disabled");
        let first = Wish::Pxe.body(&now, Scope::Differing).unwrap();
        let both = json!({"Boot": {"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once"}});
        assert_eq!(first, both);
        let target_is_there = Wish::Pxe.body(&boot("Pxe", "Disabled"), Scope::Differing).unwrap();
        assert_eq!(target_is_there, json!({"Boot": {"BootSourceOverrideEnabled": "Once"}}));
        assert_eq!(Wish::Pxe.body(&boot("Pxe", "Once"), Scope::Differing), None);
        let with_mode: Vec<bool> = LADDER
            .iter()
            .map(|scope| Wish::Pxe.body(&now, *scope).unwrap().to_string().contains("Mode"))
            .collect();
        assert_eq!(with_mode, [false, false, false, true]);
    }

    /// ironcore-dev/metal-operator PR#998.
    #[test]
    fn no_target_of_none_is_ever_sent() {
        for now in [boot("None", "Once"), boot("Pxe", "Continuous"), Boot::default()] {
            for wish in [Wish::Usual, Wish::Pxe, Wish::Http("http://h/a.efi")] {
                for scope in LADDER {
                    let body = wish.body(&now, scope).map(|body| body.to_string()).unwrap_or_default();
                    assert!(!body.contains(r#""None""#), "{wish:?} {scope:?}: {body}");
                }
            }
        }
        let cleared = Wish::Usual.body(&boot("Pxe", "Continuous"), Scope::Differing).unwrap();
        assert_eq!(cleared, json!({"Boot": {"BootSourceOverrideEnabled": "Disabled"}}));
    }

    #[test]
    fn http_needs_a_bmc_that_lists_it_and_firmware_that_is_not_legacy() {
        let wish = Wish::Http("http://h/a.efi");
        let mut now = boot("None", "Disabled");
        assert!(wish.impossible(&now).is_some());
        now.targets = Some(vec!["Pxe".into(), "UefiHttp".into()]);
        assert_eq!(wish.impossible(&now), None);
        let held = Boot { uri: Some("http://h/a.efi".into()), ..boot("UefiHttp", "Once") };
        assert_eq!(wish.held(&held), Some(true));
        assert_eq!(wish.held(&Boot { uri: Some("http://h/old.efi".into()), ..held }), None);
        now.mode = Some("Legacy".into());
        assert!(wish.impossible(&now).is_some());
    }
}
