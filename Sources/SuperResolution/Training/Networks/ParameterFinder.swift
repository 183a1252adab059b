import Storage

/// Finds the parameters and sites of a checkpoint that an architecture has accepted.
struct ParameterFinder {
  let store: ParameterStore
  /// The statistics of batch normalizations, by name.
  let statistics: [String: [Float]]

  /// - Throws: `ModelError` when it is missing.
  func parameter(_ name: String) throws -> ParameterReference {
    guard let reference = store[name] else {
      throw ModelError("the tensor '\(name)' is missing")
    }
    return reference
  }

  /// - Throws: `ModelError` when a parameter or a statistic is missing.
  func statistics(of norm: BatchNormalization) throws -> BatchStatistics {
    func values(_ parameter: GraphParameter) throws -> [Float] {
      let name = parameter.tensors[0].name
      guard let values = statistics[name] else {
        throw ModelError("the tensor '\(name)' is missing")
      }
      return values
    }
    return BatchStatistics(
      scale: try parameter(norm.scale.tensors[0].name),
      offset: try parameter(norm.offset.tensors[0].name), mean: try values(norm.mean),
      inverseDeviation: try values(norm.variance).map { 1 / ($0 + norm.epsilon).squareRoot() })
  }
}
