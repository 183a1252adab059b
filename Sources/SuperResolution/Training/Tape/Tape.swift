/// Reverse-mode differentiation over whole matrices.
///
/// Operations are methods that compute a new `Variable` at once and write down how its gradient
/// becomes those of their operands (each by hand). `backward` runs these steps from the last to the
/// first; what only a step referred to is freed with it. One thread works on a tape at a time.
///
/// Parameters lie in one array that many tapes read; a tape adds their gradients to an array of its
/// own of the same layout.
final class Tape {
  let pool: BufferPool
  private let parameters: UnsafePointer<Float>
  /// `nil` where nothing is recorded, for a forward pass alone.
  private let gradients: UnsafeMutablePointer<Float>?
  /// By the index of a parameter: whether its gradient is wanted.
  private let isWanted: [Bool]
  /// By the index of a site: how its values are rounded.
  let quantizers: [SiteQuantizer?]
  private var steps: [() -> Void] = []

  /// - Parameters:
  ///   - parameters, gradients: arrays that outlive the tape.
  ///   - quantizers: one entry a site; empty when no activation is quantized.
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

  /// A variable for the result of an operation, whose values are not set.
  func result(rows: Int, columns: Int, needsGradient: Bool) -> Variable {
    result(
      rows: rows, columns: columns, needsGradient: needsGradient, in: pool.take(rows * columns))
  }

  /// The same with values that lie in `buffer` already.
  func result(
    rows: Int, columns: Int, needsGradient: Bool, in buffer: BufferPool.Buffer
  ) -> Variable {
    Variable(
      rows: rows, columns: columns, needsGradient: needsGradient && gradients != nil, buffer)
  }

  /// Writes down what `backward` does with the gradient of `variable`, if it gets one.
  func record(_ variable: Variable, _ step: @escaping (_ gradient: BufferPool.Buffer) -> Void) {
    guard variable.needsGradient else { return }
    steps.append {
      if let gradient = variable.takeGradient() { step(gradient) }
    }
  }

  /// Runs every step from the last to the first, so that all parameters have their gradients.
  func backward() {
    while let step = steps.popLast() { step() }
  }

  // MARK: Parameters

  func values(_ parameter: ParameterReference) -> UnsafePointer<Float> {
    parameters + parameter.offset
  }

  /// Where the gradient of a parameter is added up; `nil` when nobody wants it.
  func gradient(_ parameter: ParameterReference) -> UnsafeMutablePointer<Float>? {
    guard let gradients, isWanted[parameter.index] else { return nil }
    return gradients + parameter.offset
  }

  /// A parameter as a variable of so many columns.
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
