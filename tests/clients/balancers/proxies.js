// Starts nginx and HAProxy with the shipped configuration files, on the loopback address. Only listeners, replicas, paths and
// limits are replaced.
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const CONFIG = new URL("../../../config/", import.meta.url);

export const have = (program) => spawnSync(program, ["-v"], { env: PATH }).status === 0;
const PATH = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` };

let ports = process.pid % 900;

// A port below the range from which the system takes the ports of connections and of listeners on port 0, so that nothing
// else gets it before its server starts.
export async function freePort() {
  for (;;) {
    const port = 26_000 + (ports++ % 1000), server = createServer();
    const free = await new Promise((resolve) => {
      server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

// Replaces `replicaN:8080` with the given ports, and drops the lines of the other replicas.
function replicas(text, ports) {
  return text.split("\n").flatMap((line) => {
    const number = /\breplica(\d):8080|^    use-server replica(\d)/.exec(line)?.slice(1).find(Boolean);
    if (!number) return [line];
    return number <= ports.length ? [line.replace(/replica\d:8080/, `127.0.0.1:${ports[number - 1]}`)] : [];
  }).join("\n");
}

async function run(program, args, port, folder) {
  const child = spawn(program, args, { env: PATH, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stdout.on("data", (data) => (said += data));
  child.stderr.on("data", (data) => (said += data));
  const ended = new Promise((resolve) => child.once("exit", resolve));
  for (let attempt = 0; ; attempt++) {
    const up = await new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1", () => (socket.destroy(), resolve(true)));
      socket.on("error", () => resolve(false));
    });
    if (up) break;
    if (child.exitCode !== null || attempt > 1000) throw new Error(`${program} has not started: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`${program} has ended before the tests: ${said}`);
    child.kill("SIGTERM");
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  return { url: `http://127.0.0.1:${port}`, stop, said: () => said };
}

// `text` replaces the shipped nginx.conf.
export async function nginx(ports, text) {
  const folder = await mkdtemp(join(tmpdir(), "hubplane-nginx-"));
  const port = await freePort();
  text = replicas(text ?? (await readFile(new URL("nginx.conf", CONFIG), "utf8")), ports).replace("listen 8080", `listen 127.0.0.1:${port}`);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`);
  text = text.replace("http {", `http {\n${temporary.join("\n")}`).replaceAll("/var/log/nginx", folder).replace(/worker_rlimit_nofile.*/, "").replace("65536", "1024");
  await writeFile(join(folder, "nginx.conf"), text);
  const settings = `daemon off; pid ${folder}/pid; ${process.getuid() === 0 ? "user root;" : ""}`;
  const started = await run("nginx", ["-e", "stderr", "-c", join(folder, "nginx.conf"), "-g", settings], port, folder);
  const logged = () => ["access.log", "error.log"].map((name) => readFileSync(join(folder, name), "utf8")).join("");
  return { ...started, said: () => started.said() + logged() };
}

export async function haproxy(ports) {
  const folder = await mkdtemp(join(tmpdir(), "hubplane-haproxy-"));
  const port = await freePort();
  let text = replicas(await readFile(new URL("haproxy.cfg", CONFIG), "utf8"), ports);
  text = text.replace("bind :8080", `bind 127.0.0.1:${port}`).replace("maxconn 100000", "maxconn 200");
  await writeFile(join(folder, "haproxy.cfg"), text);
  return run("haproxy", ["-db", "-f", join(folder, "haproxy.cfg")], port, folder);
}
