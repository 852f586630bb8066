// What is given to a model's method beside its images, as the native module takes it.

/**
 * A value for a parameter of a model's method that is no image. By the parameter's type: `int` takes integers (above
 * 2^53 - 1 as a bigint), `float` numbers, `bool`, `str`, `None` null, `List` and `Tuple` arrays, `Dict` objects (with
 * keys of `int` written in digits), `Tensor` a number or nested arrays of numbers or booleans: int64 where all are whole,
 * else the type of the model's weights.
 */
export type ModelArgument =
  | number
  | bigint
  | boolean
  | string
  | null
  | readonly ModelArgument[]
  | { readonly [key: string]: ModelArgument };

/** By the names of the method's parameters; `Model.signatures` tells them. They are the same for all images. */
export interface ModelArguments {
  readonly [name: string]: ModelArgument | undefined;
}
