import { readdir, realpath } from 'node:fs/promises';
import { join, sep } from 'node:path';
import type { FastifyBaseLogger } from 'fastify';
import { GradCamError } from '../../errors/errors.js';
import { nearestNames } from '../../errors/nearest-names.js';
import { type ModelDefinition, modelName } from '../configuration/options.js';
import { type BatchTotals, type ModelDefaults, ServedModel } from './served-model.js';

/** Of the files in a repository; where a model has both, the first is served. */
const modelEndings = ['.pt2', '.pt'] as const;

/** As Triton's repository index names them. */
export type ModelState = 'LOADING' | 'READY' | 'UNLOADING' | 'UNAVAILABLE';

interface Entry {
  readonly definition: ModelDefinition;
  served: ServedModel | null;
  state: ModelState;
  /** Why it is unavailable. */
  reason: string;
  loads: number;
  /** It was asked for, and not unloaded since. */
  wanted: boolean;
  /** Of versions that are gone: counters must not go back. */
  readonly retired: (BatchTotals & { version: string })[];
  /** Versions that take no more requests and still answer those they have; each with the promise of its end. */
  readonly leaving: Map<ServedModel, Promise<void>>;
  /** Loads and unloads of a model take turns. */
  work: Promise<unknown>;
  /** The load that was asked for last, until it ends. */
  loading: Promise<void> | null;
}

export interface RegistryOptions extends ModelDefaults {
  readonly models: Readonly<Record<string, ModelDefinition>>;
  /** A folder of NAME.pt2 and NAME.pt files. All are loaded at the start, or with `modelControl` those that are asked for. */
  readonly modelRepository?: string | undefined;
  readonly modelControl: boolean;
}

export interface ModelStatus {
  readonly name: string;
  readonly version: string;
  readonly state: ModelState;
  readonly reason: string;
}

/** With a sidecar: a request that chooses the layer or a target that is no class may go well. */
const explainsOtherwise = new Set([
  'ERR_OUTPUT_SHAPE',
  'ERR_OUTPUT_SELECTOR',
  'ERR_CLASS_OUT_OF_RANGE',
  'ERR_NO_LAYER_SUGGESTION',
]);

/** The models of a server by name, loaded and not. */
export class ModelRegistry {
  readonly #entries = new Map<string, Entry>();
  readonly #options: RegistryOptions;
  readonly #closing = new AbortController();
  #log: FastifyBaseLogger | undefined;
  #started: Promise<void> | undefined;
  readonly #atStart: Set<string>;
  #listed = false;

  constructor(options: RegistryOptions) {
    this.#options = options;
    for (const [name, definition] of Object.entries(options.models)) this.#define(name, definition);
    this.#atStart = new Set(this.names);
  }

  #define(name: string, definition: ModelDefinition): Entry {
    const entry: Entry = {
      definition,
      served: null,
      state: 'UNAVAILABLE',
      reason: 'not loaded',
      loads: 0,
      wanted: false,
      retired: [],
      leaving: new Map(),
      work: Promise.resolve(),
      loading: null,
    };
    this.#entries.set(name, entry);
    return entry;
  }

  /** Loads the models that the options ask for, one after the other. Rejects with the first failure. */
  start(log?: FastifyBaseLogger): Promise<void> {
    this.#log = log;
    this.#started ??= this.#loadAll();
    this.#started.catch(() => {});
    return this.#started;
  }

  async #loadAll(): Promise<void> {
    let failure: unknown;
    if (!this.#options.modelControl) for (const name of await this.available()) this.#atStart.add(name);
    this.#listed = true;
    for (const name of this.#atStart) {
      try {
        await this.load(name);
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure !== undefined) throw failure;
  }

  /** Resolves when the models of the options are loaded and warm; rejects when one cannot be. */
  async whenLoaded(): Promise<void> {
    await this.#started;
  }

  /** True once every model that was asked for can be used, and until the server closes. */
  get ready(): boolean {
    if (this.#closing.signal.aborted || !this.#listed) return false;
    return [...this.#atStart].every((name) => (this.#entries.get(name)?.loads ?? 0) > 0);
  }

  /** True from the moment that the server begins to end. */
  get closing(): boolean {
    return this.#closing.signal.aborted;
  }

  get names(): string[] {
    return [...this.#entries.keys()];
  }

  status(): ModelStatus[] {
    return [...this.#entries].map(([name, { served, state, reason, loads }]) => ({
      name,
      version: served?.version ?? String(Math.max(1, loads)),
      state,
      reason: state === 'READY' ? '' : reason,
    }));
  }

  /** Models that are loaded, ready or not. */
  loaded(): ServedModel[] {
    return [...this.#entries.values()].flatMap(({ served }) => (served ? [served] : []));
  }

  /** What was computed by every version of every model. */
  totals(): (BatchTotals & { model: string; version: string })[] {
    return [...this.#entries].flatMap(([model, { served, leaving, retired }]) => {
      const loaded = [...leaving.keys(), ...(served ? [served] : [])];
      const counted = loaded.map(({ version, totals }) => ({ version, ...totals }));
      return [...retired, ...counted].map((each) => ({ model, ...each }));
    });
  }

  /** True for a model that is loaded, or would be if its file were good. */
  isWanted(name: string): boolean {
    return this.#entries.get(name)?.wanted ?? false;
  }

  isReady(name: string): boolean {
    return this.#entry(name).served !== null && !this.#closing.signal.aborted;
  }

  /**
   * The model that serves a name now.
   * @throws {GradCamError} `ERR_UNKNOWN_MODEL`, `ERR_MODEL_NOT_READY`
   */
  get(name: string, version?: string): ServedModel {
    const { served, state, reason } = this.#entry(name);
    if (served === null) {
      const why = state === 'LOADING' ? 'it is being loaded' : reason;
      throw new GradCamError('ERR_MODEL_NOT_READY', `Model with name ${name} is not ready: ${why}.`);
    }
    if (version !== undefined && version !== served.version) {
      throw new GradCamError(
        'ERR_UNKNOWN_MODEL',
        `Model ${name} has no version ${version}; its version is ${served.version}.`,
      );
    }
    return served;
  }

  #entry(name: string): Entry {
    const entry = this.#entries.get(name);
    if (entry) return entry;
    throw this.#unknown(name);
  }

  #unknown(name: string): GradCamError {
    const nearest = nearestNames(name, this.names).slice(0, 3);
    const hint = nearest.length > 0 ? ` Is it ${nearest.join(' or ')}?` : '';
    return new GradCamError('ERR_UNKNOWN_MODEL', `Model with name ${name} does not exist.${hint}`, {
      details: { suggestions: nearest },
    });
  }

  /**
   * Loads a model, or loads it anew: the old one serves until the new one is warm, and then finishes what it has. Who asks
   * while a model that is not there yet is being loaded waits for that load.
   * @throws {GradCamError} as `loadModel`; then the old one, if there is one, goes on
   */
  async load(name: string): Promise<void> {
    const entry = await this.#entryOrFile(name);
    if (entry.served === null && entry.wanted && entry.loading) return await entry.loading;
    await this.#loadInTurn(name, entry);
  }

  /** Loads a model anew whose file was changed, even if a load is under way: it may have read the old file. */
  async reload(name: string): Promise<void> {
    await this.#loadInTurn(name, await this.#entryOrFile(name));
  }

  async #entryOrFile(name: string): Promise<Entry> {
    const known = this.#entries.get(name);
    if (known) return known;
    const definition = await this.#findInRepository(name);
    // Others may have looked for it meanwhile.
    return this.#entries.get(name) ?? this.#define(name, definition);
  }

  async #loadInTurn(name: string, entry: Entry): Promise<void> {
    entry.wanted = true;
    const loading = this.#inTurn(entry, () => this.#load(name, entry));
    entry.loading = loading;
    try {
      await loading;
    } finally {
      if (entry.loading === loading) entry.loading = null;
    }
  }

  async #load(name: string, entry: Entry): Promise<void> {
    this.#closing.signal.throwIfAborted();
    const started = performance.now();
    entry.state = 'LOADING';
    let fresh: ServedModel | undefined;
    try {
      fresh = await ServedModel.load(
        name,
        String(entry.loads + 1),
        entry.definition,
        this.#options,
        this.#closing.signal,
      );
      await this.#warmUp(fresh);
      this.#closing.signal.throwIfAborted();
    } catch (error) {
      await fresh?.dispose();
      entry.state = entry.served ? 'READY' : 'UNAVAILABLE';
      if (this.#closing.signal.aborted) throw error;
      entry.reason = `it could not be loaded (${(error as { code?: string }).code ?? 'ERR_INTERNAL'})`;
      this.#log?.error({ err: error, model: name }, `model ${name} could not be loaded`);
      throw error;
    }
    const old = entry.served;
    entry.loads++;
    entry.served = fresh;
    entry.state = 'READY';
    entry.reason = '';
    const seconds = Number(((performance.now() - started) / 1000).toFixed(2));
    this.#log?.info({ model: name, version: fresh.version, seconds }, `model ${name} is ready`);
    for (const { code, message } of fresh.model.warnings) this.#log?.warn({ model: name, code }, message);
    if (old) this.#retire(entry, old);
  }

  /**
   * A model without a sidecar may want other inputs than zeros of ImageNet's size: then its first request warms it. One
   * that has no class to explain, or no layer that could be suggested, can be asked for something else.
   */
  async #warmUp(fresh: ServedModel): Promise<void> {
    const { name, sidecar } = fresh;
    const attempt = async (work: (signal: AbortSignal) => Promise<void>, problem: string) => {
      try {
        await work(this.#closing.signal);
        return true;
      } catch (error) {
        const { code } = error as { code?: string };
        const isExpected = !sidecar || explainsOtherwise.has(code ?? '');
        if (!isExpected || code === 'ERR_OUT_OF_MEMORY' || this.#closing.signal.aborted) throw error;
        this.#log?.warn({ err: error, model: name }, `model ${name} ${problem}`);
        return false;
      }
    };
    const problem = "was not warmed up: it has no sidecar, and does not take ImageNet's pictures";
    if (!(await attempt((signal) => fresh.warmUp(signal), problem))) return;
    await attempt((signal) => fresh.tryOut(signal), 'explains no class unless a request says more');
  }

  #retire(entry: Entry, old: ServedModel): void {
    const gone = old.dispose().finally(() => {
      entry.leaving.delete(old);
      entry.retired.push({ version: old.version, ...old.totals });
    });
    entry.leaving.set(old, gone);
  }

  /** Takes no new requests for a model, finishes those it has and frees it. */
  async unload(name: string): Promise<void> {
    const entry = this.#entry(name);
    entry.wanted = false;
    await this.#inTurn(entry, async () => {
      const { served } = entry;
      if (!served) return;
      entry.served = null;
      entry.state = 'UNLOADING';
      entry.reason = 'unloaded';
      this.#retire(entry, served);
      await Promise.all(entry.leaving.values());
      entry.state = 'UNAVAILABLE';
      this.#log?.info({ model: name }, `model ${name} was unloaded`);
    });
  }

  async #inTurn<T>(entry: Entry, work: () => Promise<T>): Promise<T> {
    const mine = entry.work.then(work);
    entry.work = mine.catch(() => {});
    return await mine;
  }

  /** The definition of NAME.pt2, or of NAME.pt, in the repository. Neither the name nor a link leads out of it. */
  async #findInRepository(name: string): Promise<ModelDefinition> {
    const folder = this.#options.modelRepository;
    if (folder !== undefined && modelName.safeParse(name).success) {
      const root = await realpath(folder).catch(() => null);
      for (const ending of modelEndings) {
        const path = root === null ? null : await realpath(join(root, name + ending)).catch(() => null);
        if (root !== null && path?.startsWith(root + sep)) return { path };
      }
    }
    throw this.#unknown(name);
  }

  /** Names of models that could be loaded: those known, and the files of the repository. */
  async available(): Promise<string[]> {
    const folder = this.#options.modelRepository;
    const files = folder === undefined ? [] : await readdir(folder).catch(() => []);
    const inRepository = files.flatMap((file) => {
      const ending = modelEndings.find((each) => file.endsWith(each));
      return ending === undefined ? [] : [file.slice(0, -ending.length)];
    });
    return [...new Set([...this.names, ...inRepository.filter((name) => modelName.safeParse(name).success)])];
  }

  /** The server is about to end: not ready any more, though what was accepted goes on. */
  stopLoading(): void {
    this.#closing.abort(new GradCamError('ERR_MODEL_NOT_READY', 'The server is closing.'));
  }

  /** Frees all models when their requests are answered. */
  async close(): Promise<void> {
    this.stopLoading();
    await Promise.all(
      [...this.#entries.values()].map(async (entry) => {
        await entry.work;
        if (entry.served) this.#retire(entry, entry.served);
        entry.served = null;
        await Promise.all(entry.leaving.values());
        entry.state = 'UNAVAILABLE';
        entry.reason = 'unloaded';
      }),
    );
  }
}
