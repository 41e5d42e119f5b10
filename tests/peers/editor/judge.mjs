// Two judges of JSON Schemas, asked by lines of JSON on standard input; each line is answered with one.
//
// {"validate": TEXT, "schema": SCHEMA}: ajv, with the YAML read as YAML 1.2 with merge keys; {"errors": [TEXT, …]}.
// {"open": TEXT, "path": PATH}: the YAML language server, as an editor opens a file; {"errors": [TEXT, …]}.
// {"hover": [LINE, COLUMN], "text": TEXT, "path": PATH}: {"words": TEXT}.
// {"complete": [LINE, COLUMN], "text": TEXT, "path": PATH}: {"labels": [TEXT, …]}.
// PATH is where the file would be, so that the place of its schema is found. Nothing is fetched.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { dirname, join } from 'node:path';
import Ajv from 'ajv';
import { parse } from 'yaml';

const require = createRequire(import.meta.url);
const compiled = new Map();

function validate(text, schema) {
    if (!compiled.has(schema)) {
        compiled.set(schema, new Ajv({ allErrors: true, strict: true, allowUnionTypes: true, strictRequired: false }).compile(JSON.parse(schema)));
    }
    const check = compiled.get(schema);
    check(parse(text, { merge: true, logLevel: 'error' }));
    return (check.errors ?? []).map(({ instancePath, message, params }) =>
        `${instancePath} ${message} ${params.additionalProperty ?? ''}`.trim());
}

// The language server, over its standard input and output.
class Server {
    constructor() {
        const package_ = require.resolve('yaml-language-server/package.json');
        const bin = join(dirname(package_), require(package_).bin['yaml-language-server']);
        this.process = spawn(process.execPath, [bin, '--stdio'], { stdio: ['pipe', 'pipe', 'inherit'] });
        this.waiting = new Map();
        this.diagnosed = new Map();
        this.number = 0;
        this.rest = Buffer.alloc(0);
        this.process.stdout.on('data', (bytes) => this.receive(bytes));
    }

    receive(bytes) {
        this.rest = Buffer.concat([this.rest, bytes]);
        for (;;) {
            const end = this.rest.indexOf('\r\n\r\n');
            if (end < 0) return;
            const length = Number(/Content-Length: (\d+)/i.exec(this.rest.subarray(0, end).toString())[1]);
            if (this.rest.length < end + 4 + length) return;
            const message = JSON.parse(this.rest.subarray(end + 4, end + 4 + length).toString());
            this.rest = this.rest.subarray(end + 4 + length);
            if (message.method && message.id !== undefined) {
                // A request of the server's, such as for its settings.
                const items = message.params?.items ?? [];
                const settings = (item) => item.section === 'yaml'
                    ? { validate: true, hover: true, completion: true, schemaStore: { enable: false } }
                    : null;
                this.send({ id: message.id, result: message.method === 'workspace/configuration' ? items.map(settings) : null });
            } else if (message.method === 'textDocument/publishDiagnostics') {
                const { uri, diagnostics } = message.params;
                this.diagnosed.get(uri)?.(diagnostics);
            } else if (message.id !== undefined) {
                this.waiting.get(message.id)?.(message);
                this.waiting.delete(message.id);
            }
        }
    }

    send(message) {
        const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message }));
        this.process.stdin.write(`Content-Length: ${body.length}\r\n\r\n`);
        this.process.stdin.write(body);
    }

    request(method, params) {
        const id = ++this.number;
        const answer = new Promise((resolve) => this.waiting.set(id, resolve));
        this.send({ id, method, params });
        return answer.then((message) => {
            if (message.error) throw new Error(`${method}: ${message.error.message}`);
            return message.result;
        });
    }

    async start() {
        await this.request('initialize', {
            processId: process.pid,
            rootUri: null,
            capabilities: {
                workspace: { configuration: true },
                textDocument: { publishDiagnostics: {}, hover: { contentFormat: ['markdown'] }, completion: { completionItem: {} } },
            },
        });
        this.send({ method: 'initialized', params: {} });
    }

    // Opens a file under a name of its own, and waits for what is wrong with it.
    async open(text, path) {
        const uri = pathToFileURL(join(dirname(path), `asked-${++this.number}.yaml`)).href;
        const told = new Promise((resolve) => this.diagnosed.set(uri, resolve));
        this.send({ method: 'textDocument/didOpen', params: { textDocument: { uri, languageId: 'yaml', version: 1, text } } });
        return { uri, diagnostics: await told };
    }
}

let server;
async function answer(question) {
    if (question.validate !== undefined) return { errors: validate(question.validate, question.schema) };
    if (!server) {
        server = new Server();
        await server.start();
    }
    const { uri, diagnostics } = await server.open(question.open ?? question.text, question.path);
    const ask = (method, [line, character]) =>
        server.request(method, { textDocument: { uri }, position: { line, character } });
    if (question.hover) {
        const found = await ask('textDocument/hover', question.hover);
        return { words: found?.contents?.value ?? '' };
    }
    if (question.complete) {
        const found = await ask('textDocument/completion', question.complete);
        return { labels: (found?.items ?? []).map(({ label }) => label) };
    }
    return { errors: diagnostics.map(({ range, message }) => `${range.start.line + 1}: ${message}`) };
}

for await (const line of createInterface({ input: process.stdin })) {
    const reply = await answer(JSON.parse(line)).catch((error) => ({ fault: String(error) }));
    process.stdout.write(`${JSON.stringify(reply)}\n`);
}
server?.process.kill();
