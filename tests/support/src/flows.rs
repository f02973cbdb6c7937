//! Flows for real Node-REDs, as JSON. Each does one thing a test needs; [`Flows`] puts them together.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

/// How often the witness flows tick.
pub const TICK: Duration = Duration::from_millis(50);

/// The endpoint that says which member answered, under which epoch: `{"member":"a","epoch":3}`.
pub const WHO: &str = "/who";

/// The endpoint that gives back the number it was asked with, for [`crate::load`].
pub const ECHO: &str = "/echo";

/// The path of [`Flows::dashboard`].
pub const DASHBOARD: &str = "/board";

/// The endpoint of [`Flows::alive_except`].
pub const ALIVE: &str = "/alive";

/// What the node of [`Flows::slow_close`] logs.
pub const SLOW_CLOSE: &str = "slow close ready";

/// JavaScript that makes the object every witness message is: who acts, under which epoch, when.
/// `monotonic` comes from the settings file (node_red.rs); in a Node-RED without it, `sent` is left out.
const IDENTITY: &str = "const monotonic = global.get('monotonic');
const identity = {
    member: env.get('HOTSPARE_MEMBER') || '',
    epoch: Number(env.get('HOTSPARE_EPOCH') || 0),
    sent: monotonic ? monotonic() : undefined,
};
";

/// A set of flows under construction.
#[derive(Debug, Clone)]
pub struct Flows {
    nodes: Vec<Value>,
    credentials: Value,
}

impl Default for Flows {
    fn default() -> Self {
        Self::new()
    }
}

impl Flows {
    /// `/who`, and nothing that acts by itself.
    pub fn new() -> Self {
        let mut flows =
            Flows { nodes: vec![json!({"id": "tab", "type": "tab", "label": "test"})], credentials: json!({}) };
        flows.endpoint("who", WHO, &format!("{IDENTITY}msg.payload = identity;\nreturn msg;"));
        flows
    }

    /// `/hang?ms=N` keeps the event loop busy for N ms; without `ms`, for ever.
    #[must_use]
    pub fn hang(mut self) -> Self {
        // By a clock that no test sets.
        let code = "const monotonic = global.get('monotonic');
const now = monotonic ? () => monotonic() / 1e6 : Date.now;
const until = msg.req.query.ms ? now() + Number(msg.req.query.ms) : Infinity;
while (now() < until) {}
msg.payload = 'free again';
return msg;";
        self.endpoint("hang", "/hang", code);
        self
    }

    /// `/exit?code=N` ends the Node-RED process from inside.
    #[must_use]
    pub fn exit(mut self) -> Self {
        self.endpoint("exit", "/exit", "global.get('exit')(Number(msg.req.query.code || 0));");
        self
    }

    /// `/slow?ms=N` answers after N ms.
    #[must_use]
    pub fn slow(mut self) -> Self {
        let code =
            format!("{IDENTITY}msg.payload = identity;\nsetTimeout(() => node.send(msg), Number(msg.req.query.ms));");
        self.endpoint("slow", "/slow", &code);
        self
    }

    /// `/alive` answers 200, and 500 on one member: flows that start there and don't serve.
    #[must_use]
    pub fn alive_except(mut self, member: &str) -> Self {
        let code = format!("{IDENTITY}msg.statusCode = identity.member === '{member}' ? 500 : 200;\nreturn msg;");
        self.endpoint("alive", ALIVE, &code);
        self
    }

    /// `/echo` answers GET (`?id=N`) and POST (`{"id": N}`) with that number and who answers: for [`crate::load`].
    #[must_use]
    pub fn echo(mut self) -> Self {
        let code = format!("{IDENTITY}msg.payload = {{...identity, id: Number(msg.payload.id)}};\nreturn msg;");
        self.endpoint("echo", ECHO, &code);
        self.nodes.push(json!({"id": "echo-post", "type": "http in", "z": "tab", "name": "", "url": ECHO,
            "method": "post", "upload": false, "swaggerDoc": "", "wires": [["echo-do"]]}));
        self
    }

    /// A node that takes `time` to close, so that stopping the flows takes at least as long. It logs [`SLOW_CLOSE`]
    /// when it is ready to.
    #[must_use]
    pub fn slow_close(mut self, time: Duration) -> Self {
        let code =
            format!("node.on('close', done => setTimeout(done, {}));\nnode.warn('{SLOW_CLOSE}');", time.as_millis());
        self.nodes.extend([
            json!({"id": "slowclose-once", "type": "inject", "z": "tab", "name": "", "props": [], "repeat": "",
                   "crontab": "", "once": true, "onceDelay": "0", "topic": "", "wires": [["slowclose"]]}),
            json!({"id": "slowclose", "type": "function", "z": "tab", "name": "slow close", "func": code, "outputs": 1,
                   "wires": [[]]}),
        ]);
        self
    }

    /// A node of a type that isn't installed: Node-RED says the flows are started and runs none.
    #[must_use]
    pub fn missing_type(mut self) -> Self {
        self.nodes.push(json!({"id": "missing", "type": "not-installed-anywhere", "z": "tab", "wires": []}));
        self
    }

    /// A node with credentials, which Node-RED keeps apart from the flows, encrypted. `/secret` says whether the
    /// credentials are there.
    #[must_use]
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        self.nodes.push(json!({
            "id": "vault", "type": "http request", "z": "tab", "name": "", "method": "GET", "ret": "txt",
            "url": "http://127.0.0.1:9/", "authType": "basic", "wires": [[]],
        }));
        self.credentials["vault"] = json!({"user": user, "password": password});
        self
    }

    /// A timer that sends a message to the witness by UDP.
    #[must_use]
    pub fn tick_udp(mut self, to: SocketAddr) -> Self {
        self.ticking(
            "udp",
            json!({
                "type": "udp out", "addr": to.ip().to_string(), "iface": "", "port": to.port().to_string(),
                "ipv": "udp4", "outport": "", "base64": false, "multicast": "false",
            }),
        );
        self
    }

    /// A timer that sends a message to the witness by HTTP POST, each on a connection of its own.
    #[must_use]
    pub fn tick_http(mut self, to: SocketAddr) -> Self {
        self.ticking("http", json!({
            "type": "http request", "method": "POST", "ret": "txt", "paytoqs": "ignore", "url": format!("http://{to}/tick"),
            "tls": "", "persist": false, "proxy": "", "authType": "", "headers": [],
        }));
        self
    }

    /// A timer that publishes to `witness/<member>` at a broker.
    #[must_use]
    pub fn tick_mqtt(mut self, broker: SocketAddr) -> Self {
        self.nodes.push(json!({
            "id": "broker", "type": "mqtt-broker", "name": "", "broker": broker.ip().to_string(),
            "port": broker.port().to_string(), "clientid": "", "autoConnect": true, "usetls": false,
            "protocolVersion": "4", "keepalive": "15", "cleansession": true, "autoUnsubscribe": true,
            "birthTopic": "", "closeTopic": "", "willTopic": "", "userProps": "", "sessionExpiry": "",
        }));
        self.ticking(
            "mqtt",
            json!({
                "type": "mqtt out", "topic": "witness", "qos": "0", "retain": "false", "broker": "broker",
            }),
        );
        self
    }

    /// FlowFuse's dashboard at [`DASHBOARD`]: a text that says each quarter of a second who is active, as `member/epoch/`
    /// and how often the button beside it was pressed.
    #[must_use]
    pub fn dashboard(mut self) -> Self {
        let code = format!(
            "{IDENTITY}if (msg.topic === 'press') flow.set('pressed', (flow.get('pressed') || 0) + 1);
msg.payload = `${{identity.member}}/${{identity.epoch}}/${{flow.get('pressed') || 0}}`;
return msg;"
        );
        let widget = |id: &str, kind: &str, more: Value| {
            let mut node = json!({"id": id, "type": kind, "z": "tab", "group": "board-group", "name": "", "order": 1,
                "width": 0, "height": 0, "className": ""});
            node.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            node
        };
        self.nodes.extend([
            json!({"id": "board-base", "type": "ui-base", "name": "board", "path": DASHBOARD, "includeClientData": true,
                   "acceptsClientConfig": ["ui-notification", "ui-control"], "showPathInSidebar": false,
                   "navigationStyle": "default"}),
            json!({"id": "board-theme", "type": "ui-theme", "name": "theme", "colors": {"surface": "#ffffff",
                   "primary": "#0094CE", "bgPage": "#eeeeee", "groupBg": "#ffffff", "groupOutline": "#cccccc"},
                   "sizes": {"pagePadding": "12px", "groupGap": "12px", "groupBorderRadius": "4px", "widgetGap": "12px"}}),
            json!({"id": "board-page", "type": "ui-page", "name": "page", "ui": "board-base", "path": "/page", "icon": "home",
                   "layout": "grid", "theme": "board-theme", "order": 1, "className": "", "visible": true,
                   "disabled": false}),
            json!({"id": "board-group", "type": "ui-group", "name": "group", "page": "board-page", "width": "6",
                   "height": "1", "order": 1, "showTitle": true, "className": "", "visible": true,
                   "disabled": false, "groupType": "default"}),
            widget("board-text", "ui-text", json!({"label": "active", "format": "{{msg.payload}}",
                   "layout": "row-spread", "style": false, "wires": []})),
            widget("board-button", "ui-button", json!({"label": "press", "order": 2, "topic": "press",
                   "topicType": "str", "payload": "", "payloadType": "str", "icon": "", "iconPosition": "left",
                   "tooltip": "", "color": "", "bgcolor": "", "buttonColor": "", "textColor": "", "iconColor": "",
                   "emulateClick": false, "enableClick": true,
                   "wires": [["board-who"]]})),
            json!({"id": "board-timer", "type": "inject", "z": "tab", "name": "", "props": [{"p": "payload"}],
                   "repeat": "0.25", "crontab": "", "once": true, "onceDelay": "0", "topic": "", "payload": "",
                   "payloadType": "date", "wires": [["board-who"]]}),
            json!({"id": "board-who", "type": "function", "z": "tab", "name": "", "func": code, "outputs": 1,
                   "timeout": 0, "noerr": 0, "initialize": "", "finalize": "", "libs": [], "wires": [["board-text"]]}),
        ]);
        self
    }

    /// The content of flows.json.
    pub fn json(&self) -> Value {
        Value::Array(self.nodes.clone())
    }

    /// The content of flows_cred.json, not encrypted: Node-RED takes it and encrypts it at the next deploy.
    pub fn credentials_json(&self) -> &Value {
        &self.credentials
    }

    fn endpoint(&mut self, id: &str, path: &str, code: &str) {
        let (input, function, output) = (format!("{id}-in"), format!("{id}-do"), format!("{id}-out"));
        self.nodes.extend([
            json!({"id": input, "type": "http in", "z": "tab", "name": "", "url": path, "method": "get",
                   "upload": false, "swaggerDoc": "", "wires": [[function]]}),
            json!({"id": function, "type": "function", "z": "tab", "name": "", "func": code, "outputs": 1,
                   "timeout": 0, "noerr": 0, "initialize": "", "finalize": "", "libs": [], "wires": [[output]]}),
            json!({"id": output, "type": "http response", "z": "tab", "name": "", "statusCode": "", "headers": {},
                   "wires": []}),
        ]);
    }

    /// An inject timer, a function that numbers and signs its messages, and the `sender` node.
    fn ticking(&mut self, id: &str, mut sender: Value) {
        let (timer, function, out) = (format!("{id}-timer"), format!("{id}-sign"), format!("{id}-send"));
        let code = format!(
            "{IDENTITY}const seq = (context.get('seq') || 0) + 1;
context.set('seq', seq);
msg.payload = JSON.stringify({{...identity, kind: '{id}', seq}});
return msg;"
        );
        self.nodes.extend([
            json!({"id": timer, "type": "inject", "z": "tab", "name": "", "props": [{"p": "payload"}],
                   "repeat": TICK.as_secs_f64().to_string(), "crontab": "", "once": true, "onceDelay": "0",
                   "topic": "", "payload": "", "payloadType": "date", "wires": [[function]]}),
            json!({"id": function, "type": "function", "z": "tab", "name": "", "func": code, "outputs": 1,
                   "timeout": 0, "noerr": 0, "initialize": "", "finalize": "", "libs": [], "wires": [[out]]}),
        ]);
        sender["id"] = json!(out);
        sender["z"] = json!("tab");
        sender["wires"] = json!([[]]);
        self.nodes.push(sender);
    }
}
