//! The live page in a real Chromium: what it shows, what its buttons do, and that it comes back by itself.
//!
//! With `HOTSPARE_PICTURES=FOLDER` pictures of it are left there, to be looked at.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;

use hotspare_test_support::browser::Browser;
use hotspare_test_support::site::{ADMIN, READ, Site};

/// The card of the instance, as text.
const CARD: &str = "document.querySelector('#cards .card')?.innerText";

fn picture(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os("HOTSPARE_PICTURES") {
        browser.screenshot(&PathBuf::from(folder).join(name));
    }
}

/// Opens the page and shows a token, by keyboard alone.
fn open(browser: &mut Browser, site: &Site, token: &str) {
    browser.open(&format!("http://{}/", site.proxy(9480)));
    browser.wait_for("the question for a token", "document.querySelector('#login')?.open === true");
    browser.type_text(token);
    browser.press("Enter");
    browser.wait_for("the stream", "document.querySelector('#connection').innerText === 'live'");
}

/// Every control has a name, so that a screen reader can say what it does.
fn assert_all_named(browser: &mut Browser) {
    let controls = ["button", "link", "textbox", "searchbox", "meter", "dialog"];
    let all = browser.accessible();
    let named = all.iter().filter(|(role, name)| controls.contains(&role.as_str()) && !name.is_empty()).count();
    assert!(named > 0, "a screen reader is told of no control at all: {all:?}");
    for (role, name) in &all {
        assert!(!controls.contains(&role.as_str()) || !name.is_empty(), "a {role} without a name: {all:?}");
    }
}

#[test]
fn a_failover_is_shown_a_press_switches_over_and_a_restarted_proxy_is_found_again() {
    let mut site = Site::start("");
    let mut browser = Browser::start();
    browser.resize(1280, 900);
    open(&mut browser, &site, ADMIN);
    browser.wait_for("a card", &format!("{CARD}?.includes('line-1') && {CARD}.includes('ready')"));
    assert_all_named(&mut browser);
    picture(&mut browser, "overview-light.png");

    // A failover, while the page is looked at.
    let (old, new) = if site.active() == "a" { ("a", "b") } else { ("b", "a") };
    assert!(browser.eval(CARD).as_str().is_some_and(|card| card.contains(&format!("{old} active"))));
    site.says(&["failover", "line-1", "--force", "--yes"]);
    browser.wait_for("the failover", &format!("{CARD}.includes('{new} active')"));

    // Tab to the card, Enter opens it, Tab to the first button, Enter asks, Enter does it.
    browser.eval("document.querySelector('#cards .card').focus()");
    browser.press("Enter");
    browser.wait_for("the instance", "document.querySelector('#detail .member.active h3')?.innerText");
    browser.wait_for("its story", "document.querySelectorAll('.events li').length > 3");
    browser
        .wait_for("the other member, ready", "document.querySelector('.member.standby .word')?.innerText === 'ready'");
    assert_all_named(&mut browser);
    picture(&mut browser, "detail-light.png");
    browser.eval("document.querySelector('[data-order=switchover]').focus()");
    browser.press("Enter");
    browser.wait_for("the question", "document.querySelector('#confirm').open");
    assert_all_named(&mut browser);
    picture(&mut browser, "confirm-light.png");
    browser.type_text("by keyboard");
    browser.press("Enter");
    browser.wait_for("the active", &format!("document.querySelector('.member.active h3').innerText === '{old}'"));
    assert_eq!(site.active(), old);
    assert!(site.says(&["events", "line-1"]).contains("by keyboard"));

    // The same with a mouse, whose press lasts while the page is drawn again; and no is no.
    browser
        .wait_for("the other member, ready", "document.querySelector('.member.standby .word')?.innerText === 'ready'");
    browser.click("[data-order=switchover]");
    browser.wait_for("the question", "document.querySelector('#confirm').open");
    browser.press("Escape");
    browser.wait_for("no question", "!document.querySelector('#confirm').open");
    browser.click("[data-order=switchover]");
    browser.wait_for("the question", "document.querySelector('#confirm').open");
    browser.click("#confirm-yes");
    browser.wait_for("the active", &format!("document.querySelector('.member.active h3').innerText === '{new}'"));
    assert_eq!(site.active(), new);
    browser.prefer("dark");
    picture(&mut browser, "detail-dark.png");
    browser.resize(390, 844);
    let too_wide = browser.eval("document.documentElement.scrollWidth > document.documentElement.clientWidth");
    assert_eq!(too_wide, false, "a phone would have to scroll sideways");
    picture(&mut browser, "detail-phone-dark.png");

    // The page stays open over the proxy's end and comes back by itself.
    browser.eval("window.before = 'the same page'");
    site.restart_proxy();
    browser.wait_for("that it is live again", "document.querySelector('#connection').innerText === 'live'");
    site.says(&["pause", "line-1", "--reason", "seen after the restart"]);
    browser.wait_for("what is new", "document.querySelector('#detail').innerText.includes('seen after the restart')");
    assert_eq!(browser.eval("window.before"), "the same page");
    picture(&mut browser, "paused-phone-dark.png");
}

#[test]
fn who_may_only_look_gets_no_buttons_and_a_thousand_instances_fit_on_the_page() {
    // One server answers for all members: every address of 127.0.0.0/8 is the machine's. How soon a thousand are
    // served is not asked here, only what the page makes of them.
    let server = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    std::thread::spawn(move || server.incoming().for_each(drop));
    let mut more = String::new();
    for n in 0..1000 {
        let (high, low) = (n / 250, n % 250 + 1);
        let _ = write!(
            more,
            "[[instance]]\nname = \"plant-{n}\"\nlisten = \"PROXY:{}\"\n\
             [[instance.member]]\nname = \"a\"\naddress = \"127.1.{high}.{low}:{port}\"\nlauncher = {{ kind = \"none\" }}\n\
             [[instance.member]]\nname = \"b\"\naddress = \"127.2.{high}.{low}:{port}\"\nlauncher = {{ kind = \"none\" }}\n\
             [instance.health]\ninterval = \"1m\"\n",
            20_000 + n
        );
    }
    let site = Site::start(&more);
    let mut browser = Browser::start();
    browser.resize(1280, 900);
    open(&mut browser, &site, READ);
    browser.wait_for("a thousand and one cards", "document.querySelectorAll('#cards li').length === 1001");
    picture(&mut browser, "thousand-light.png");

    // One of them is changed, and takes its place: what is in trouble first, then what is to be looked at.
    let card = "[...document.querySelectorAll('#cards .card')].find((c) => c.textContent.startsWith('line-1'))";
    browser.wait_for("a card", &format!("{card}.className.includes('good')"));
    site.says(&["pause", "line-1", "--reason", "a look"]);
    browser.wait_for("the change", &format!("{card}.className.includes('note')"));
    let levels = "[...document.querySelectorAll('#cards .card')].map((c) => c.className.split(' ')[1])";
    let levels = browser.eval(levels);
    let places = levels.as_array().expect("levels").iter();
    let ranks: Vec<_> = places.map(|level| ["bad", "note", "good"].iter().position(|one| level == one)).collect();
    assert!(ranks.is_sorted(), "trouble is not on top: {levels}");
    browser.eval("document.querySelector('#filter').focus()");
    browser.type_text("plant-77");
    let shown = "[...document.querySelectorAll('#cards li')].filter((li) => !li.hidden).length";
    browser.wait_for("eleven cards", &format!("{shown} === 11"));
    browser.prefer("dark");
    browser.resize(390, 844);
    picture(&mut browser, "found-phone-dark.png");

    browser.eval("location.hash = 'plant-777'");
    browser.wait_for("the instance", "document.querySelector('#detail .member h3')?.innerText");
    assert_eq!(
        browser.eval("document.querySelectorAll('[data-order]').length"),
        0,
        "buttons for one who may only look"
    );
}
