import { argumentOutOfRange, invalidArgumentType } from '../errors/errors.js';
import { ownOptions } from '../errors/options.js';
import { type AttributionOptions, InputAttribution } from './attribution.js';

export interface IntegratedGradientsOptions extends AttributionOptions {
  /** Points on the way from baseline to input. Default 50. */
  readonly steps?: number;
  /** How the points lie and weigh; as Captum's methods of these names. Default `'gausslegendre'`. */
  readonly method?: 'gausslegendre' | 'riemann_trapezoid';
  /** The value of every element of the baseline. Default 0, the mean of images normalised as usual. */
  readonly baseline?: number;
  /** Points computed in one run of the model. Default 16. */
  readonly batchSize?: number;
}

/**
 * Gradients gathered on the straight way from a baseline to the input, times the way: attributions that add up to the
 * difference of the scores. M. Sundararajan et al., "Axiomatic Attribution for Deep Networks", 2017.
 */
export class IntegratedGradients extends InputAttribution {
  protected override readonly request;

  /** @throws {TypeError|RangeError} `ERR_INVALID_ARG_TYPE`, `ERR_OUT_OF_RANGE`, `ERR_UNKNOWN_OPTION` */
  constructor(options: IntegratedGradientsOptions) {
    const {
      steps = 50,
      method = 'gausslegendre',
      baseline = 0,
      batchSize = 16,
      ...common
    } = ownOptions(options);
    super(common);
    if (!Number.isInteger(steps) || steps < 1 || steps > 10_000)
      throw argumentOutOfRange('steps', 'an integer from 1 to 10000', steps);
    if (method !== 'gausslegendre' && method !== 'riemann_trapezoid')
      throw invalidArgumentType('method', "'gausslegendre' or 'riemann_trapezoid'", method);
    if (!Number.isFinite(baseline)) throw argumentOutOfRange('baseline', 'a finite number', baseline);
    if (!Number.isInteger(batchSize) || batchSize < 1 || batchSize > 65_536)
      throw argumentOutOfRange('batchSize', 'an integer from 1 to 65536', batchSize);
    this.request = { kind: 'integrated-gradients', rule: method, steps, batchSize, baseline } as const;
  }
}
