/// The optimizer Adam (Kingma and Ba 2015, algorithm 1), with one rate per group of parameters.
package struct Adam: Hashable, Sendable {
  /// The learning rates; absent groups are not learned. A step is about the rate times the
  /// parameter's unit: the initial step between codes for bounds and latent weights, 1 for all
  /// others.
  package var rates: [ParameterGroup: Float]
  /// The decay rates of the averages of gradients and of their squares.
  var firstDecay: Float = 0.9
  var secondDecay: Float = 0.99
  var epsilon: Float = 1e-8
  /// The Euclidean norm to which larger gradients are scaled down together; `nil` for no limit.
  var largestGradientNorm: Float? = nil

  package init(rates: [ParameterGroup: Float]) {
    self.rates = rates
  }

  /// Whether parameters of the group are learned.
  func isLearning(_ group: ParameterGroup?) -> Bool {
    group.flatMap { rates[$0] }.map { $0 != 0 } ?? false
  }

  /// Takes one step against the gradients.
  ///
  /// - Parameters:
  ///   - number: the number of the step, from 1.
  ///   - factor: the factor of the rates, from a schedule.
  /// - Returns: the gradients' Euclidean norm before any scaling.
  @discardableResult
  func update(_ store: inout ParameterStore, number: Int, factor: Float) -> Float {
    let norm = gradientNorm(store)
    var clip: Float = 1
    if let largest = largestGradientNorm, norm > largest { clip = largest / norm }
    let firstCorrection = 1 - power(firstDecay, number)
    let secondCorrection = 1 - power(secondDecay, number)
    for entry in store.entries {
      guard let rate = entry.group.flatMap({ rates[$0] }), rate != 0 else { continue }
      let stepSize = rate * factor * entry.unit / firstCorrection
      let range = entry.reference.range
      store.withElements(range) { values, gradients, firstMoments, secondMoments in
        for index in 0..<range.count {
          let gradient = gradients[index] * clip
          let first = firstDecay * firstMoments[index] + (1 - firstDecay) * gradient
          let second = secondDecay * secondMoments[index] + (1 - secondDecay) * gradient * gradient
          firstMoments[index] = first
          secondMoments[index] = second
          values[index] -= stepSize * first / ((second / secondCorrection).squareRoot() + epsilon)
        }
      }
    }
    return norm
  }

  private func gradientNorm(_ store: ParameterStore) -> Float {
    var sum = 0.0
    for entry in store.entries where isLearning(entry.group) {
      for gradient in store.gradients[entry.reference.range] {
        sum += Double(gradient) * Double(gradient)
      }
    }
    return Float(sum.squareRoot())
  }

  private func power(_ base: Float, _ exponent: Int) -> Float {
    (0..<min(exponent, 100_000)).reduce(1) { product, _ in product * base }
  }
}
