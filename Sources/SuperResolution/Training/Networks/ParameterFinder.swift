import Storage

/// Finds the parameters of a checkpoint that an architecture has accepted.
struct ParameterFinder {
  private(set) var store: ParameterStore
  /// Tensors of which parameters are made that are not learned.
  private(set) var fixedTensors: Set<String> = []
  private var weights: WeightReader

  /// - Parameter store: the tensors that can be learned.
  init(store: ParameterStore, _ weights: WeightReader) {
    (self.store, self.weights) = (store, weights)
  }

  /// Returns the place of a parameter. What several tensors amount to, or one by some rule, is added to
  /// the store, and not learned.
  ///
  /// - Throws: as `GraphParameter.values` does.
  mutating func reference(_ parameter: GraphParameter) throws -> ParameterReference {
    if parameter.derivation == nil, let found = store[parameter.tensors[0].name] { return found }
    let values = try parameter.values(&weights)
    fixedTensors.formUnion(parameter.tensors.map(\.name))
    return store.add("parameter \(store.entries.count)", values, group: nil)
  }

  /// - Throws: as `GraphParameter.values` does.
  mutating func statistics(of norm: BatchNormalization) throws -> BatchStatistics {
    BatchStatistics(
      scale: try reference(norm.scale), offset: try reference(norm.offset),
      mean: try norm.mean.values(&weights),
      inverseDeviation: try norm.variance.values(&weights).map {
        1 / ($0 + norm.epsilon).squareRoot()
      })
  }
}
