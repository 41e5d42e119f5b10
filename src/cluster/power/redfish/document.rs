//! Answers of Redfish services (DSP0266), as far as five requests need them.
//!
//! Owns their reading. BMCs leave out, null and mistype what they like, so a field that is not as the schema has it counts as absent;
//! only what nothing can be done without is an error. Lists and texts have limits, for the bytes are foreign. Leaves fetching to the client.

use serde_json::Value;

use super::super::State;
use crate::base::words;

/// Most members of a list that are read. A chassis has some dozens of systems.
const MOST: usize = 512;
/// Longest text that is taken, in bytes.
const LONGEST: usize = 4096;

/// The service's root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its list of systems.
    pub systems: String,
    /// Where sessions are made, if it has them.
    pub sessions: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its members.
    pub members: Vec<String>,
    /// The next page.
    pub next: Option<String>,
}

/// A system: a machine, or a blade of a chassis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Its name or id, for people.
    pub name: String,
    /// Its power.
    pub state: State,
    /// Its settings of the next boot.
    pub boot: Option<Boot>,
    /// The resource that takes its future settings (`@Redfish.Settings`), if it is another.
    pub settings: Option<String>,
    /// The tag of this reading.
    pub etag: Option<String>,
    /// How it is reset.
    pub reset: Option<Reset>,
    /// Its list of network cards.
    pub cards: Option<String>,
}

/// The settings of the next boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// `BootSourceOverrideTarget`.
    pub target: Option<String>,
    /// `BootSourceOverrideEnabled`.
    pub enabled: Option<String>,
    /// `BootSourceOverrideMode`.
    pub mode: Option<String>,
    /// `HttpBootUri`; empty if it is there and null.
    pub uri: Option<String>,
    /// The targets that may be set, if it says so.
    pub targets: Option<Vec<String>>,
    /// The values of `enabled` that may be set, if it says so.
    pub frequencies: Option<Vec<String>>,
}

/// The action `ComputerSystem.Reset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Where it is posted.
    pub target: String,
    /// The types that it takes, if it says so.
    pub types: Option<Vec<String>>,
    /// Where else it says so.
    pub info: Option<String>,
}

/// Reads the service's root.
///
/// # Errors
/// In words: it is no such document.
pub fn root(bytes: &[u8]) -> Result<Root, String> {
    let value = object(bytes)?;
    let systems = link(&value["Systems"]).ok_or("its root names no Systems")?;
    Ok(Root { systems, sessions: link(&value["Links"]["Sessions"]) })
}

/// Reads a page of a list.
///
/// # Errors
/// In words: it is no such document.
pub fn page(bytes: &[u8]) -> Result<Page, String> {
    let value = object(bytes)?;
    let members = value["Members"].as_array().ok_or("its list has no Members")?;
    let members = members.iter().take(MOST).filter_map(link).collect();
    Ok(Page { members, next: text(&value["Members@odata.nextLink"]) })
}

/// Reads a system, or the resource of its future settings.
///
/// # Errors
/// In words: it is no such document.
pub fn system(bytes: &[u8]) -> Result<System, String> {
    let value = object(bytes)?;
    let boot = value["Boot"].as_object().map(|_| {
        let boot = &value["Boot"];
        Boot {
            target: text(&boot["BootSourceOverrideTarget"]),
            enabled: text(&boot["BootSourceOverrideEnabled"]),
            mode: text(&boot["BootSourceOverrideMode"]),
            uri: boot.get("HttpBootUri").map(|uri| text(uri).unwrap_or_default()),
            targets: texts(&boot["BootSourceOverrideTarget@Redfish.AllowableValues"]),
            frequencies: texts(&boot["BootSourceOverrideEnabled@Redfish.AllowableValues"]),
        }
    });
    let reset = &value["Actions"]["#ComputerSystem.Reset"];
    let reset = text(&reset["target"]).map(|target| Reset {
        target,
        types: texts(&reset["ResetType@Redfish.AllowableValues"]),
        info: text(&reset["@Redfish.ActionInfo"]),
    });
    let name =
        ["Name", "HostName", "Id"].iter().find_map(|key| text(&value[*key]).filter(|name| !name.is_empty()));
    Ok(System {
        name: name.unwrap_or_default(),
        state: state(&value["PowerState"]),
        boot,
        settings: link(&value["@Redfish.Settings"]["SettingsObject"]),
        etag: text(&value["@odata.etag"]),
        reset,
        cards: link(&value["EthernetInterfaces"]),
    })
}

/// The reset types of an `ActionInfo`.
///
/// # Errors
/// In words: it is no such document.
pub fn reset_types(bytes: &[u8]) -> Result<Option<Vec<String>>, String> {
    let value = object(bytes)?;
    let parameters = value["Parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let named = parameters.iter().find(|parameter| parameter["Name"] == "ResetType");
    Ok(named.and_then(|parameter| texts(&parameter["AllowableValues"])))
}

/// The addresses of a network card.
///
/// # Errors
/// In words: it is no such document.
pub fn addresses(bytes: &[u8]) -> Result<Vec<String>, String> {
    let value = object(bytes)?;
    Ok(["MACAddress", "PermanentMACAddress"].iter().filter_map(|key| text(&value[*key])).collect())
}

/// The reason of a refusal: the messages of its extended information, else the message of the error (DSP0266, "Error responses").
/// These are the BMC's own words: they are to be made safe before anybody sees them.
pub fn reason(bytes: &[u8]) -> Option<String> {
    let value = object(bytes).ok()?;
    let error = &value["error"];
    let infos =
        error["@Message.ExtendedInfo"].as_array().or_else(|| value["@Message.ExtendedInfo"].as_array());
    let said = |info: &Value| {
        let id = text(&info["MessageId"]).filter(|id| !id.is_empty());
        text(&info["Message"]).filter(|said| !said.is_empty()).or(id)
    };
    let infos: Vec<String> = infos.into_iter().flatten().take(4).filter_map(said).collect();
    match infos.is_empty() {
        false => Some(infos.join(" ")),
        true => text(&error["message"]).or_else(|| text(&error["code"])),
    }
}

fn object(bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let value: Value = serde_json::from_slice(bytes).map_err(|error| words::of_serde(&error))?;
    if value.is_object() { Ok(value) } else { Err("its answer is no JSON object".into()) }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| text.len() <= LONGEST).map(str::to_owned)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?;
    Some(list.iter().take(MOST).filter_map(text).collect())
}

fn link(value: &Value) -> Option<String> {
    text(&value["@odata.id"]).filter(|link| !link.is_empty())
}

fn state(value: &Value) -> State {
    match value.as_str() {
        Some("On") => State::On,
        Some("Off") => State::Off,
        Some("PoweringOn") => State::PoweringOn,
        Some("PoweringOff") => State::PoweringOff,
        _ => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_not_as_the_schema_has_it_counts_as_absent() {
        let text = r##"{"Name": 7, "Id": "1", "PowerState": null, "Boot": {"BootSourceOverrideTarget": null, "HttpBootUri": null,
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["Pxe", 3, "UefiHttp"]}, "@Redfish.Settings": [],
            "Actions": {"#ComputerSystem.Reset": {"target": "/r"}}, "EthernetInterfaces": "none"}"##;
        let system = system(text.as_bytes()).unwrap();
        assert_eq!((system.name.as_str(), system.state), ("1", State::Unknown));
        let boot = system.boot.unwrap();
        assert_eq!((boot.target, boot.uri), (None, Some(String::new())));
        assert_eq!(boot.targets.unwrap(), ["Pxe", "UefiHttp"]);
        assert_eq!((system.settings, system.cards), (None, None));
    }

    #[test]
    fn a_reason_is_what_the_service_says() {
        let extended =
            br#"{"error": {"code": "iLO.0.10.ExtendedInfo", "message": "See @Message.ExtendedInfo",
            "@Message.ExtendedInfo": [{"MessageId": "iLO.2.30.UnsupportedOperation"}]}}"#;
        assert_eq!(reason(extended).unwrap(), "iLO.2.30.UnsupportedOperation");
        assert_eq!(reason(b"{\"error\": {\"message\": \"no\"}}").unwrap(), "no");
        assert_eq!(reason(b"<html>"), None);
    }
}
