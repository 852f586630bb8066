import { readFileSync } from 'node:fs';
import test from 'ava';
import { type Copy, DockerfileParser, type From } from 'dockerfile-ast';
import { readServerConfiguration } from 'node-gradcam/server';
import { parseAllDocuments } from 'yaml';
import { gradcam } from '../helpers/cli.js';
import { fixturePath, rootPath } from '../helpers/root.js';
import { type RunningServer, startServer } from '../helpers/server.js';

// The files in docs/deployment against a real server: addresses, the metric, options and ports that they name exist.

const folder = rootPath('docs/deployment');

interface Container {
  readonly name: string;
  readonly args: string[];
  readonly ports: { name: string; containerPort: number }[];
  readonly volumeMounts?: { name: string; mountPath: string }[];
  readonly livenessProbe: { httpGet: { path: string; port: number | string } };
  readonly readinessProbe: { httpGet: { path: string; port: number | string } };
}
interface Resource {
  readonly kind: string;
  readonly metadata: { name: string; labels?: object };
  // biome-ignore lint/suspicious/noExplicitAny: each kind has a shape of its own
  readonly spec: any;
  readonly data?: Record<string, string>;
}

function readYaml(name: string): Resource[] {
  return parseAllDocuments(readFileSync(`${folder}/${name}`, 'utf8')).map((document) => {
    if (document.errors.length > 0) throw document.errors[0];
    return document.toJS() as Resource;
  });
}
const resources = Object.fromEntries(readYaml('kubernetes.yaml').map((each) => [each.kind, each]));
const deployed = resources.Deployment?.spec.template.spec;
const container = deployed.containers[0] as Container;
const kserve = readYaml('kserve.yaml')[0] as Resource;
const predictor = kserve.spec.predictor.containers[0] as Container;
const docker = DockerfileParser.parse(readFileSync(`${folder}/Dockerfile`, 'utf8'));
const commands = docker.getInstructions().filter((each) => each.getKeyword() === 'CMD');
const wordsOf = (command: (typeof commands)[number]) =>
  JSON.parse(command.getArgumentsContent() ?? '[]') as string[];

let running: RunningServer;
test.before(async () => {
  running = await startServer({ models: { resnet50: fixturePath('scripted.pt') } });
});
test.after.always(async () => {
  await running.server.close();
});

test('probes ask for what the server has', async (t) => {
  for (const { livenessProbe, readinessProbe, ports } of [container, predictor]) {
    for (const { httpGet } of [livenessProbe, readinessProbe]) {
      t.is((await running.get(httpGet.path)).status, 200, httpGet.path);
      t.true(
        ports.some(({ name, containerPort }) => httpGet.port === name || httpGet.port === containerPort),
      );
    }
  }
});

test('the autoscaler scales by a metric of the server, under the name that the adapter gives it', async (t) => {
  const { metric } = (resources.HorizontalPodAutoscaler as Resource).spec.metrics[0].pods;
  const [adapter] = readYaml('prometheus-adapter.yaml') as unknown as {
    rules: { custom: { seriesQuery: string; name: { matches: string } }[] };
  }[];
  const rule = adapter?.rules.custom[0];
  t.is(rule?.name.matches, metric.name);
  t.true(rule?.seriesQuery.startsWith(`${metric.name}{`));
  t.regex(await (await running.get('/metrics')).text(), new RegExp(`^${metric.name} \\d+$`, 'm'));
  t.is(resources.HorizontalPodAutoscaler?.spec.scaleTargetRef.name, resources.Deployment?.metadata.name);
});

test('labels, ports and volumes fit together', (t) => {
  const labels = resources.Deployment?.spec.template.metadata.labels;
  for (const selector of [
    resources.Deployment?.spec.selector.matchLabels,
    resources.Service?.spec.selector,
    resources.PodDisruptionBudget?.spec.selector.matchLabels,
  ])
    t.deepEqual(selector, labels);
  t.is(resources.Service?.spec.ports[0].targetPort, container.ports[0]?.name);
  const volumes = (deployed.volumes as { name: string }[]).map(({ name }) => name);
  for (const { name } of container.volumeMounts ?? []) t.true(volumes.includes(name), name);
  // The drain has to end before the kubelet loses patience.
  const option = (name: string) =>
    Number(container.args.find((each) => each.startsWith(`--${name}=`))?.split('=')[1]);
  t.true(option('drain-delay') + option('drain-timeout') < deployed.terminationGracePeriodSeconds * 1000);
});

test.serial('options of gradcam serve exist', async (t) => {
  const { stdout } = await gradcam(['serve', '--help']);
  const given = [...container.args, ...predictor.args, ...commands.flatMap(wordsOf)].filter((each) =>
    each.startsWith('--'),
  );
  t.true(given.length >= 10);
  for (const option of given) t.regex(stdout, new RegExp(`${option.split('=')[0]}\\b`), option);
});

test('configurations are valid', async (t) => {
  const { host, port, options } = await readServerConfiguration(`${folder}/server.json`);
  t.deepEqual([host, port], ['0.0.0.0', container.ports[0]?.containerPort]);
  t.deepEqual(Object.keys(options.models ?? {}), ['resnet50', 'birds']);
  const { createServer } = await import('node-gradcam/server');
  const {
    host: _host,
    port: _port,
    ...mapped
  } = JSON.parse(resources.ConfigMap?.data?.['server.json'] ?? '');
  await createServer(mapped).close();
});

test('the Dockerfile has a variant for CPU and one for CUDA, not run as root', (t) => {
  const instructions = docker.getInstructions();
  const stages = docker.getFROMs().map((from: From) => from.getBuildStage());
  for (const stage of ['cpu', 'cuda']) t.true(stages.includes(stage), stage);
  for (const copy of docker.getCOPYs() as Copy[]) {
    const from = copy.getFromFlag()?.getValue();
    if (from) t.true(stages.includes(from), from);
  }
  const of = (keyword: string) => instructions.filter((each) => each.getKeyword() === keyword);
  t.is(of('USER').at(-1)?.getArgumentsContent(), '1000');
  t.is(of('EXPOSE')[0]?.getArgumentsContent(), '8080');
  t.true(of('ENTRYPOINT')[0]?.getArgumentsContent()?.includes('dist/lib/cli/main.js'));
  t.is(commands.length, 2);
});
