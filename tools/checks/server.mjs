import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const gradcam = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
let help;

/** Whether `gradcam serve` has an option. */
function has(flag) {
  help ??= spawnSync(process.execPath, [gradcam, 'serve', '--help'], { encoding: 'utf8' }).stdout;
  return help.includes(flag);
}

/**
 * `gradcam serve` on free ports of loopback, once its models are warm: `{ http, grpc }`, each HOST:PORT, `grpc` undefined
 * where that is not spoken.
 */
export async function startServer(args) {
  const program = spawn(
    process.execPath,
    [
      ...[gradcam, 'serve', '--port', '0', '--no-page', '--log-level', 'error', ...args],
      ...(has('--grpc-port') ? ['--grpc-port', '0'] : []),
      // Models are loaded and unloaded by whoever asks.
      ...(args.includes('--model-control') && has('--insecure') ? ['--insecure'] : []),
    ],
    { stdio: ['ignore', 'inherit', 'pipe'] },
  );
  let told = '';
  const ready = new Promise((resolve) => {
    program.stderr.setEncoding('utf8').on('data', (text) => {
      told += text;
      if (/^Ready/m.test(told)) resolve();
    });
  });
  await Promise.race([
    ready,
    once(program, 'exit').then(() => {
      throw new Error(`gradcam serve ended early:\n${told}`);
    }),
  ]);
  const address = (pattern) => pattern.exec(told)?.[1];
  return { program, http: address(/http:\/\/([\w.:[\]]+)/), grpc: address(/grpc\D*?([\d.]+:\d+)/i) };
}

/** Ends it as its operator would, and resolves when it has ended. */
export async function stopServer({ program }) {
  if (program.exitCode !== null) return;
  const ended = once(program, 'exit');
  program.kill('SIGTERM');
  await ended;
}
