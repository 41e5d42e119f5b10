//! One test for each way in which BMCs differ (facts of the research, row 29), against a small BMC of those manners.

use std::time::{Duration, Instant};

use prebake::cluster::power::{Boot, Error, Limits, State, Switch};
use serde_json::{Value, json};

use super::bmc::{Bmc, Elsewhere, Manners, PASSWORD, Tags};
use super::{QUICK, redfish, run, switch_within, words};

fn switch(bmc: &Bmc) -> Switch {
    switch_within(redfish(&bmc.url(), PASSWORD, false), QUICK)
}

fn by_pxe(manners: Manners) -> Bmc {
    let bmc = Bmc::start(manners);
    let done = run(switch(&bmc).boot_once(None)).unwrap();
    assert_eq!(done.boot, Some(Boot::Pxe { once: true }), "{:?}", bmc.log());
    assert_eq!((done.state, bmc.is_on()), (State::On, true));
    assert_eq!(bmc.boot()["BootSourceOverrideTarget"], "Pxe");
    assert_eq!(bmc.boot()["BootSourceOverrideEnabled"], "Once");
    bmc
}

fn keys(body: &Value) -> Vec<&str> {
    body["Boot"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_machine_that_is_off_boots_once_over_the_network_by_five_requests() {
    let bmc = by_pxe(Manners::default());
    let log = bmc.log();
    let line: Vec<String> = log.iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect();
    assert_eq!(line[..3], ["GET /redfish/v1/", "GET /redfish/v1/Systems", "GET /redfish/v1/Systems/1"]);
    assert_eq!(bmc.sent("PATCH").len(), 1, "{line:?}");
    assert_eq!(bmc.sent("POST"), [json!({"ResetType": "On"})]);
    // The root is asked for by anybody.
    assert_eq!(log[0].header("authorization"), None);
}

/// ironcore-dev/metal-operator#80, PR#107, #608; ansible-collections/community.general#3509.
#[test]
fn a_mode_that_does_not_change_is_not_sent() {
    let bmc = by_pxe(Manners { refuses_mode: true, on: true, ..Manners::default() });
    assert_eq!(keys(&bmc.sent("PATCH")[0]), ["BootSourceOverrideTarget", "BootSourceOverrideEnabled"]);
    assert_eq!(bmc.sent("POST"), [json!({"ResetType": "ForceRestart"})]);
}

/// ironcore-dev/metal-operator#80: what is there already is not sent a second time.
#[test]
fn nothing_is_sent_where_nothing_differs() {
    let bmc = by_pxe(Manners { has: Some(("Pxe", "Once")), ..Manners::default() });
    assert_eq!(bmc.sent("PATCH"), [] as [Value; 0]);
    let bmc = by_pxe(Manners { has: Some(("Pxe", "Disabled")), ..Manners::default() });
    assert_eq!(keys(&bmc.sent("PATCH")[0]), ["BootSourceOverrideEnabled"]);
}

/// ansible-collections/community.general PR#11543.
#[test]
fn a_bmc_that_wants_the_mode_gets_it_after_it_said_so() {
    let bmc = by_pxe(Manners { wants_mode: true, ..Manners::default() });
    let sent = bmc.sent("PATCH");
    assert!(!keys(&sent[0]).contains(&"BootSourceOverrideMode"));
    assert_eq!(sent.last().unwrap()["Boot"]["BootSourceOverrideMode"], "UEFI");
}

/// ansible-collections/community.general#5091.
#[test]
fn a_bmc_that_refuses_the_frequency_beside_the_target_gets_the_target_alone() {
    let bmc = by_pxe(Manners { refuses_pair: true, ..Manners::default() });
    assert_eq!(keys(bmc.sent("PATCH").last().unwrap()), ["BootSourceOverrideTarget"]);
}

/// ironcore-dev/metal-operator PR#998.
#[test]
fn an_override_ends_without_the_target_none() {
    for manners in [
        Manners { has: Some(("Pxe", "Continuous")), refuses_none: true, ..Manners::default() },
        Manners { has: Some(("Pxe", "Once")), refuses_none: true, wants_mode: true, ..Manners::default() },
        Manners {
            has: Some(("UefiHttp", "Once")),
            refuses_none: true,
            refuses_mode: true,
            on: true,
            ..Manners::default()
        },
    ] {
        let bmc = Bmc::start(manners);
        let done = run(switch(&bmc).boot_as_usual()).unwrap();
        assert!(done.changed);
        assert_eq!(bmc.boot()["BootSourceOverrideEnabled"], "Disabled");
        assert!(bmc.sent("PATCH").iter().all(|body| body["Boot"]["BootSourceOverrideTarget"] != "None"));
        assert!(bmc.sent("POST").is_empty(), "power stays as it is");
    }
}

/// DMTF/Redfish-Tacklebox#144: AMI takes settings at `/SD`, with a tag.
#[test]
fn future_settings_are_followed_with_the_tag_of_what_was_read() {
    for tags in [Tags::Needed, Tags::Moves, Tags::Weak] {
        let bmc = by_pxe(Manners { future: true, tags, ..Manners::default() });
        let log = bmc.log();
        let patches: Vec<_> = log.iter().filter(|asked| asked.method == "PATCH").collect();
        assert!(
            patches.iter().all(|asked| asked.path.ends_with("/SD") && asked.header("if-match").is_some())
        );
        assert_eq!(patches.len(), if tags == Tags::Needed { 1 } else { patches.len().min(3) });
    }
}

#[test]
fn a_resource_of_future_settings_that_is_not_there_is_not_needed() {
    let bmc = by_pxe(Manners { no_future: true, ..Manners::default() });
    assert!(bmc.log().iter().any(|asked| asked.method == "PATCH" && asked.path == "/redfish/v1/Systems/1"));
}

#[test]
fn a_tag_that_is_refused_is_read_again_and_left_out_at_last() {
    for tags in [Tags::Needed, Tags::Moves, Tags::Weak, Tags::Never, Tags::Missing] {
        let bmc = by_pxe(Manners { tags, ..Manners::default() });
        assert!(bmc.sent("PATCH").len() <= 4, "{:?}", bmc.log());
    }
}

#[test]
fn a_machine_whose_boot_cannot_be_set_gets_power_and_a_person_is_told() {
    let cases = [
        (Manners { no_boot: true, ..Manners::default() }, "no boot override"),
        (Manners { forgets: true, ..Manners::default() }, "does not keep it"),
        (Manners { refuses_mode: true, wants_mode: true, ..Manners::default() }, "BootSourceOverrideMode is"),
    ];
    for (manners, why) in cases {
        for on in [false, true] {
            let bmc = Bmc::start(Manners { on, ..manners.clone() });
            let done = run(switch(&bmc).boot_once(None)).unwrap();
            assert_eq!((done.state, bmc.is_on()), (State::On, true));
            let told = done.boot.unwrap().to_string();
            assert!(told.starts_with("set PXE by hand") && told.contains(why), "{told}");
        }
    }
}

#[test]
fn a_bmc_that_takes_settings_only_while_the_machine_is_off_has_it_off() {
    let bmc = by_pxe(Manners { only_while_off: true, on: true, ..Manners::default() });
    assert_eq!(bmc.sent("POST"), [json!({"ResetType": "ForceOff"}), json!({"ResetType": "On"})]);
}

#[test]
fn a_url_is_booted_where_the_bmc_lists_it_and_pxe_elsewhere() {
    let url = "http://10.77.0.1:8080/boot.efi".parse().unwrap();
    let bmc = Bmc::start(Manners { http: true, ..Manners::default() });
    let done = run(switch(&bmc).boot_once(Some(&url))).unwrap();
    assert_eq!(done.boot, Some(Boot::Http { once: true }));
    assert_eq!(bmc.boot()["HttpBootUri"], "http://10.77.0.1:8080/boot.efi");
    assert_eq!(bmc.boot()["BootSourceOverrideTarget"], "UefiHttp");
    let bmc = Bmc::start(Manners::default());
    let done = run(switch(&bmc).boot_once(Some(&url))).unwrap();
    assert_eq!(done.boot, Some(Boot::Pxe { once: true }));
    assert_eq!(bmc.boot().get("HttpBootUri"), None);
}

#[test]
fn an_override_that_a_bmc_keeps_for_each_boot_is_told() {
    let bmc = Bmc::start(Manners { continuous: true, ..Manners::default() });
    let done = run(switch(&bmc).boot_once(None)).unwrap();
    assert_eq!(done.boot, Some(Boot::Pxe { once: false }));
}

#[test]
fn a_certificate_of_its_own_is_taken_only_where_the_description_says_so() {
    let bmc = Bmc::start(Manners { tls: true, ..Manners::default() });
    let judged = run(switch(&bmc).on());
    assert!(matches!(judged, Err(Error::Impostor { .. })), "{judged:?}");
    assert!(bmc.log().is_empty(), "a password went to a server that is not believed");
    let unjudged = switch_within(redfish(&bmc.url(), PASSWORD, true), QUICK);
    assert_eq!(run(unjudged.on()).unwrap().state, State::On);
}

#[test]
fn a_wrong_password_is_tried_once_and_never_shown() {
    let bmc = Bmc::start(Manners { challenges: true, repeats: true, ..Manners::default() });
    let wrong = switch_within(redfish(&bmc.url(), "falsch-und-lang", false), QUICK);
    let told = words(run(wrong.on()));
    assert!(told.contains("does not let `admin` in") && !told.contains("falsch"), "{told}");
    assert_eq!(bmc.log().iter().filter(|asked| asked.header("authorization").is_some()).count(), 1);
    assert_eq!(bmc.sent("POST").len(), 0);
    assert!(!format!("{wrong:?}").contains("falsch"));
}

#[test]
fn a_bmc_without_basic_authentication_gets_a_session_that_is_ended() {
    let bmc = Bmc::start(Manners { sessions_only: true, ..Manners::default() });
    let done = run(switch(&bmc).boot_once(None)).unwrap();
    assert_eq!(done.boot, Some(Boot::Pxe { once: true }));
    assert_eq!(bmc.sessions(), 0);
    let made = bmc.sent("POST").iter().filter(|body| body.get("UserName").is_some()).count();
    assert_eq!((made, bmc.sent("DELETE").len()), (1, 1));
    let wrong = switch_within(redfish(&bmc.url(), "falsch-und-lang", false), QUICK);
    let told = words(run(wrong.on()));
    assert!(told.contains("does not let `admin` in") && !told.contains("falsch"), "{told}");
}

/// A secret that a BMC repeats is not repeated by us.
#[test]
fn a_secret_in_an_answer_is_masked() {
    let bmc = Bmc::start(Manners { resets: Some(&[PASSWORD]), ..Manners::default() });
    let told = words(run(switch(&bmc).on()));
    assert!(!told.contains(PASSWORD), "{told}");
}

#[test]
fn a_busy_bmc_is_asked_again() {
    let bmc = by_pxe(Manners { busy: 3, ..Manners::default() });
    assert_eq!(bmc.log()[3].path, "/redfish/v1/");
    let never = Bmc::start(Manners { busy: 1000, ..Manners::default() });
    let told = words(run(switch(&never).on()));
    assert!(told.contains("503") && told.contains("The service is starting"), "{told}");
}

#[test]
fn a_slow_bmc_is_given_up_at_its_limit_and_a_silent_port_at_once() {
    let slow = Bmc::start(Manners { slow: Duration::from_secs(30), ..Manners::default() });
    let limits = Limits { request: Duration::from_millis(300), ..QUICK };
    let begun = Instant::now();
    let told = words(run(switch_within(redfish(&slow.url(), PASSWORD, false), limits).on()));
    assert!(told.contains("does not answer") && begun.elapsed() < Duration::from_secs(10), "{told}");
    // Many answers in time, and all of them together too late.
    let busy = Bmc::start(Manners { slow: Duration::from_millis(150), ..Manners::default() });
    let limits = Limits { whole: Duration::from_millis(300), ..QUICK };
    let late = run(switch_within(redfish(&busy.url(), PASSWORD, false), limits).on());
    assert!(matches!(late, Err(Error::TimedOut { .. })), "{late:?}");
    let nobody = format!("http://{}", crate::lab::ports::unused());
    let told = words(run(switch_within(redfish(&nobody, PASSWORD, false), QUICK).on()));
    assert!(told.contains("does not answer"), "{told}");
}

#[test]
fn an_answer_without_an_end_is_refused() {
    let bmc = Bmc::start(Manners { huge: true, ..Manners::default() });
    let told = words(run(switch(&bmc).on()));
    assert!(told.contains("larger than 4 MiB"), "{told}");
}

#[test]
fn credentials_go_to_no_other_server() {
    let other = Bmc::start(Manners::default());
    for elsewhere in [Elsewhere::Redirect(other.address), Elsewhere::Member(other.address)] {
        let bmc = Bmc::start(Manners { elsewhere: Some(elsewhere), ..Manners::default() });
        let told = words(run(switch(&bmc).on()));
        assert!(told.contains("another server"), "{told}");
    }
    assert!(other.log().is_empty());
}

#[test]
fn redirects_within_a_bmc_are_followed() {
    let bmc = Bmc::start(Manners { redirects: true, ..Manners::default() });
    assert_eq!(run(switch(&bmc).on()).unwrap().state, State::On);
}

#[test]
fn a_blade_is_found_by_its_card_or_by_its_path() {
    let bmc = by_pxe(Manners { others: 3, ..Manners::default() });
    assert!(bmc.log().iter().all(|asked| asked.method == "GET" || !asked.path.contains("/x")));
    let path = format!("{}/redfish/v1/Systems/1", bmc.url());
    assert_eq!(run(switch_within(redfish(&path, PASSWORD, false), QUICK).on()).unwrap().state, State::On);
    let other = super::node("w9", "52:54:00:00:00:99", Some(redfish(&bmc.url(), PASSWORD, false)));
    let other = Switch::of(&other, "/".as_ref(), QUICK).unwrap().unwrap();
    let told = words(run(other.on()));
    assert!(
        told.contains("none of the BMC's systems") && told.contains("/redfish/v1/Systems/x2 (another)"),
        "{told}"
    );
}

#[test]
fn power_follows_an_order_some_time_later() {
    let bmc = Bmc::start(Manners { lag: Duration::from_millis(300), ..Manners::default() });
    let done = run(switch(&bmc).on()).unwrap();
    assert_eq!((done.state, done.changed), (State::On, true));
    let again = run(switch(&bmc).on()).unwrap();
    assert_eq!((again.state, again.changed), (State::On, false));
    assert_eq!(bmc.sent("POST").len(), 1);
    let stuck = Bmc::start(Manners { stuck: true, ..Manners::default() });
    let limits = Limits { follow: Duration::from_millis(200), ..QUICK };
    let late = run(switch_within(redfish(&stuck.url(), PASSWORD, false), limits).on());
    assert!(matches!(late, Err(Error::Stuck { wanted: State::On, state: State::Off, .. })), "{late:?}");
}

#[test]
fn resets_are_those_that_the_bmc_has() {
    let bmc = Bmc::start(Manners { resets: Some(&["On", "ForceOff"]), on: true, ..Manners::default() });
    run(switch(&bmc).cycle()).unwrap();
    assert_eq!(bmc.sent("POST"), [json!({"ResetType": "ForceOff"}), json!({"ResetType": "On"})]);
    let bmc = Bmc::start(Manners {
        resets: Some(&["ForceOn", "PowerCycle"]),
        action_info: true,
        ..Manners::default()
    });
    run(switch(&bmc).on()).unwrap();
    run(switch(&bmc).cycle()).unwrap();
    assert_eq!(bmc.sent("POST"), [json!({"ResetType": "ForceOn"}), json!({"ResetType": "PowerCycle"})]);
    let told = words(run(switch(&bmc).off()));
    assert!(told.contains("none of the resets ForceOff; it has ForceOn, PowerCycle"), "{told}");
}
