import Storage

/// Finds the parameters and sites of a checkpoint that an architecture has accepted.
struct ParameterFinder {
  let store: ParameterStore
  /// The length of each tensor's first axis, by name.
  let firstAxes: [String: Int]
  /// The statistics of batch normalizations, by name.
  let statistics: [String: [Float]]
  /// The indices of activation sites, by name.
  let sites: [String: Int]

  func contains(_ name: String) -> Bool { store[name] != nil }

  /// - Throws: `ModelError` when it is missing.
  func parameter(_ name: String) throws -> ParameterReference {
    guard let reference = store[name] else {
      throw ModelError("the tensor '\(name)' is missing")
    }
    return reference
  }

  func attention(_ module: String) throws -> AttentionSites {
    AttentionSites(
      query: try site("\(module).query"), key: try site("\(module).key"),
      value: try site("\(module).value"), probabilities: try site("\(module).probabilities"))
  }

  private func site(_ name: String) throws -> Int {
    guard let site = sites[name] else {
      throw ModelError("the network has no activation '\(name)'")
    }
    return site
  }

  func layer(_ name: String) throws -> TrainableLayer {
    let weight = try parameter("\(name).weight")
    return TrainableLayer(
      weight: weight, bias: store["\(name).bias"],
      outputs: firstAxes["\(name).weight"] ?? weight.count, site: sites["\(name).input"])
  }

  func norm(_ name: String) throws -> TrainableNorm {
    TrainableNorm(
      scale: try parameter("\(name).weight"), offset: try parameter("\(name).bias"))
  }

  func batchNorm(_ name: String) throws -> BatchStatistics {
    guard let mean = statistics["\(name).running_mean"],
      let variance = statistics["\(name).running_var"]
    else { throw ModelError("the normalization '\(name)' has no statistics") }
    return BatchStatistics(
      scale: try parameter("\(name).weight"), offset: try parameter("\(name).bias"), mean: mean,
      inverseDeviation: variance.map { 1 / ($0 + 1e-5).squareRoot() })
  }
}
