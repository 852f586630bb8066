import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import type { ExecutionContext } from 'ava';
import { listen, makeArchive, sandbox } from '../helpers/fake-libtorch.js';
import { resolver } from '../helpers/libtorch-resolver.js';
import { runScript } from '../helpers/run-script.js';
import { testWith } from '../helpers/test-with.js';

// The download of LibTorch through a proxy. A process of its own, since certificates to trust are read at its start.

const test = testWith('openssl');

/** A name that no resolver knows: only the proxy can reach it. */
const name = 'libtorch.example';

function makeCertificate(folder: string) {
  const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  const names = `subjectAltName=DNS:${name},DNS:localhost`;
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', `/CN=${name}`];
  execFileSync('openssl', [...request, '-addext', names, '-keyout', key, '-out', certificate], {
    stdio: 'ignore',
  });
  return { key: readFileSync(key), cert: readFileSync(certificate), file: certificate };
}

/** An archive on a server with TLS, and a proxy that opens tunnels to it, whatever name it is asked for. */
async function network(t: ExecutionContext) {
  const { folder, env } = sandbox(t);
  const archive = makeArchive(folder);
  const { file, ...identity } = makeCertificate(folder);
  const server = createSecureServer(identity, (_, response) => response.end(archive.content));
  t.teardown(() => server.closeAllConnections());
  await listen(t, server);
  const { port } = server.address() as AddressInfo;

  const asked: { what: string; authorization: string | undefined }[] = [];
  const proxy = createServer((request, response) => {
    asked.push({ what: `GET ${request.url}`, authorization: request.headers['proxy-authorization'] });
    response.end(archive.content);
  });
  proxy.on('connect', (request, client) => {
    asked.push({ what: `CONNECT ${request.url}`, authorization: request.headers['proxy-authorization'] });
    const tunnel = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      tunnel.pipe(client).pipe(tunnel);
    });
    for (const end of [client, tunnel]) end.on('error', () => {});
    t.teardown(() => client.destroy());
  });
  const address = new URL(await listen(t, proxy)).host;

  /** Where LibTorch came from, or why it did not. */
  const resolve = async (url: string, variables: NodeJS.ProcessEnv) => {
    const options = {
      env: { ...env, ...variables },
      officialArchive: { url, sha256: archive.sha256, bytes: archive.bytes },
    };
    const { code, stdout, stderr } = await runScript(
      `import { resolveLibTorch } from ${JSON.stringify(resolver)};
      const found = await resolveLibTorch(${JSON.stringify(options)}).catch(({ message }) => ({ source: message }));
      process.stdout.write(found.source);`,
      { NODE_EXTRA_CA_CERTS: file },
    );
    t.is(code, 0, stderr);
    t.is(stderr, '');
    return stdout;
  };
  return { address, asked, port, resolve };
}

for (const variable of ['HTTPS_PROXY', 'https_proxy'])
  test(`an archive comes through the tunnel of a proxy (${variable})`, async (t) => {
    const { address, asked, resolve } = await network(t);
    const found = await resolve(`https://${name}/libtorch.zip`, {
      [variable]: `http://somebody:secret@${address}`,
    });
    t.is(found, 'official archive');
    const authorization = `Basic ${Buffer.from('somebody:secret').toString('base64')}`;
    t.deepEqual(asked, [{ what: `CONNECT ${name}:443`, authorization }]);
  });

test('a mirror without TLS is asked for through a proxy without a tunnel, which many do not open for it', async (t) => {
  const { address, asked, resolve } = await network(t);
  const url = `http://${name}/libtorch.zip`;
  t.is(await resolve(url, { HTTP_PROXY: `http://${address}` }), 'official archive');
  t.deepEqual(asked, [{ what: `GET ${url}`, authorization: undefined }]);
});

test('NO_PROXY names what is reached without it', async (t) => {
  const { address, asked, port, resolve } = await network(t);
  const proxy = { HTTPS_PROXY: `http://${address}`, NO_PROXY: 'intranet.example,localhost' };
  t.is(await resolve(`https://localhost:${port}/libtorch.zip`, proxy), 'official archive');
  t.deepEqual(asked, []);
});

test('EXPECTED FAILURE - a proxy that refuses, and one that is not there, are told', async (t) => {
  const { resolve } = await network(t);
  const refusing = createServer();
  refusing.on('connect', (_, client) => client.end('HTTP/1.1 403 Forbidden\r\n\r\n'));
  const address = new URL(await listen(t, refusing)).host;
  const url = `https://${name}/libtorch.zip`;
  t.regex(
    await resolve(url, { HTTPS_PROXY: `http://${address}` }),
    /official archive: libtorch\.example could not be reached \(.*403/,
  );
  refusing.close();
  t.regex(
    await resolve(url, { HTTPS_PROXY: `http://somebody:secret@${address}` }),
    new RegExp(`libtorch\\.example could not be reached \\(connect ECONNREFUSED ${address}\\)`),
  );
  t.notRegex(await resolve(url, { HTTPS_PROXY: `http://somebody:secret@${address}` }), /secret/);
});
