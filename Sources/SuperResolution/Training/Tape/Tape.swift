/// Reverse-mode differentiation over whole matrices.
///
/// Operations are methods that compute a new `Variable` immediately and record how its gradient
/// becomes those of their operands; each derivative is written by hand. `backward` runs these steps
/// from the last to the first, and frees what only a completed step referred to. A tape is used by
/// one thread at a time.
///
/// Many tapes read the parameters from one shared array. Each tape adds their gradients to an array
/// of its own, which has the same layout.
final class Tape {
  let pool: BufferPool
  private let parameters: UnsafePointer<Float>
  /// `nil` for a forward pass alone, in which nothing is recorded.
  private let gradients: UnsafeMutablePointer<Float>?
  /// Whether the gradient of each parameter is wanted, by the parameter's index.
  private let isWanted: [Bool]
  /// The quantizer of each site, by the site's index.
  let quantizers: [SiteQuantizer?]
  private var steps: [() -> Void] = []

  /// - Parameters:
  ///   - parameters, gradients: arrays that outlive the tape.
  ///   - quantizers: one entry per site; empty when no activation is quantized.
  init(
    pool: BufferPool, parameters: UnsafePointer<Float>, gradients: UnsafeMutablePointer<Float>?,
    isWanted: [Bool], quantizers: [SiteQuantizer?]
  ) {
    self.pool = pool
    self.parameters = parameters
    self.gradients = gradients
    self.isWanted = isWanted
    self.quantizers = quantizers
  }

  // MARK: Recording

  /// Returns a variable for the result of an operation, with uninitialized values.
  func result(rows: Int, columns: Int, needsGradient: Bool) -> Variable {
    result(
      rows: rows, columns: columns, needsGradient: needsGradient, in: pool.take(rows * columns))
  }

  /// Returns a variable whose values are already in `buffer`.
  func result(
    rows: Int, columns: Int, needsGradient: Bool, in buffer: BufferPool.Buffer
  ) -> Variable {
    Variable(
      rows: rows, columns: columns, needsGradient: needsGradient && gradients != nil, buffer)
  }

  /// Records what `backward` does with the gradient of `variable`, if there is one.
  func record(_ variable: Variable, _ step: @escaping (_ gradient: BufferPool.Buffer) -> Void) {
    guard variable.needsGradient else { return }
    steps.append {
      if let gradient = variable.takeGradient() { step(gradient) }
    }
  }

  /// Runs every step from the last to the first, after which all parameters have their gradients.
  func backward() {
    while let step = steps.popLast() { step() }
  }

  // MARK: Parameters

  func values(_ parameter: ParameterReference) -> UnsafePointer<Float> {
    parameters + parameter.offset
  }

  /// Returns where the gradient of a parameter is accumulated; `nil` when it is not wanted.
  func gradient(_ parameter: ParameterReference) -> UnsafeMutablePointer<Float>? {
    guard let gradients, isWanted[parameter.index] else { return nil }
    return gradients + parameter.offset
  }

  /// Returns a parameter as a variable with the given number of columns.
  func variable(_ parameter: ParameterReference, columns: Int) -> Variable {
    let target = gradient(parameter)
    let variable = Variable(
      borrowing: values(parameter), rows: parameter.count / columns, columns: columns,
      needsGradient: target != nil)
    record(variable) { gradient in
      guard let target else { return }
      for index in 0..<parameter.count { target[index] += gradient.pointer[index] }
    }
    return variable
  }
}
