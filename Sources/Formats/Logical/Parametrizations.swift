import Storage

/// Weights that PyTorch computes from other tensors on each use.
extension TensorAssembly {
  func findParametrizations() {
    findSpectralNorms()
    findWeightNorms()
    findMasks()
    findOtherParametrizations()
  }

  private static func isNumber(_ tensor: Tensor) -> Bool {
    [.float16, .bfloat16, .float32, .float64].contains(tensor.elementType)
  }

  /// Whether the parameter `name` is a weight, such as `weight` or `weight_hh_l0`.
  private static func isWeight(_ name: String) -> Bool {
    let last = name.split(separator: ".").last ?? ""
    return last.contains("weight") || last.contains("kernel")
  }

  /// Returns the tensors parametrized by `torch.nn.utils.parametrize`: `a.weight` for
  /// `a.parametrizations.weight.original`.
  private func parametrized(_ suffix: String) -> [(name: String, stem: String, logical: String)] {
    names(ending: suffix).compactMap { name, stem in
      var path = stem.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      guard path.count >= 2, path[path.count - 2] == "parametrizations" else { return nil }
      path.remove(at: path.count - 2)
      return (name, stem, path.joined(separator: "."))
    }
  }

  // MARK: Weight normalization

  private func findWeightNorms() {
    var pairs = names(ending: "_g").compactMap { name, stem in
      Self.isWeight(stem) ? (length: name, direction: "\(stem)_v", logical: stem) : nil
    }
    pairs += parametrized(".original0").map { name, stem, logical in
      (length: name, direction: "\(stem).original1", logical: logical)
    }
    for pair in pairs where !claimed.contains(pair.length) {
      guard let lengths = tensor(pair.length) else { continue }
      guard let directions = tensor(pair.direction) else {
        add(
          pair.logical, .weightNorm, [pair.length], rule: "half of a weight-norm pair",
          obstacle: "'\(pair.direction)' is missing")
        continue
      }
      addWeightNorm(pair.logical, (pair.length, lengths), (pair.direction, directions))
    }
    for (name, stem) in names(ending: "_v") where Self.isWeight(stem) {
      add(
        stem, .weightNorm, [name], rule: "half of a weight-norm pair",
        obstacle: "'\(stem)_g' is missing")
    }
  }

  private func addWeightNorm(
    _ logical: String, _ lengths: (name: String, tensor: Tensor),
    _ directions: (name: String, tensor: Tensor)
  ) {
    let (g, v) = (lengths.tensor, directions.tensor)
    add(
      logical, .weightNorm, [directions.name, lengths.name], rule: "weight-norm pair"
    ) {
      guard Self.isNumber(g), Self.isNumber(v), v.shape.elementCount > 0 else {
        throw ModelError.mismatch(
          expected: "a length and a direction of floating-point numbers",
          found: "\(g.elementType) \(g.shape) and \(v.elementType) \(v.shape)")
      }
      let axis = try Self.normAxis(lengths: g.shape, directions: v.shape)
      let dimensions = v.shape.dimensions
      let count = axis.map { dimensions[$0] } ?? 1
      let inner = axis.map { dimensions[($0 + 1)...].reduce(1, *) } ?? v.shape.elementCount
      let isDouble = g.elementType == .float64 && v.elementType == .float64
      let values: @Sendable () throws -> [Double] = {
        try Self.normalized(
          locatingErrors(tensor: directions.name) { try v.doubleValues() },
          lengths: locatingErrors(tensor: lengths.name) { try g.doubleValues() },
          count: count, inner: inner)
      }
      let tensor =
        isDouble
        ? try Tensor(elementType: .float64, shape: v.shape) {
          SharedBytes(elementsOf: try values())
        }
        : try Tensor(shape: v.shape) { try values().map { Float($0) } }
      return Assembled(
        tensor: tensor,
        rule: "weight-norm pair, \(axis.map { "one length along axis \($0)" } ?? "one length"), "
          + "weight = length · direction / norm of the direction")
    }
  }

  /// Returns the axis whose slices each have their own length; `nil` if one length applies to all
  /// elements (PyTorch's `dim=None`).
  private static func normAxis(lengths: Shape, directions: Shape) throws -> Int? {
    if lengths.elementCount == 1 { return nil }
    let matching = directions.dimensions.indices.filter { axis in
      var expected = [Int](repeating: 1, count: directions.rank)
      expected[axis] = directions.dimensions[axis]
      return lengths.dimensions == expected
    }
    guard matching.count == 1, let axis = matching.first else {
      throw ModelError.mismatch(
        expected: "lengths along one axis of \(directions)", found: "\(lengths)")
    }
    return axis
  }

  /// Scales each slice of `v` to the length in `g`: g · v / ‖v‖.
  ///
  /// A slice of zeros becomes NaN, as in PyTorch, which divides by its norm.
  private static func normalized(
    _ v: [Double], lengths g: [Double], count: Int, inner: Int
  ) -> [Double] {
    var squares = [Double](repeating: 0, count: count)
    // Squares of the largest double-precision numbers would overflow.
    let largest = v.reduce(0) { $1.isFinite ? max($0, $1.magnitude) : $0 }
    let unit = largest > 0 ? largest : 1
    for (index, value) in v.enumerated() {
      squares[index / inner % count] += (value / unit) * (value / unit)
    }
    let factors = (0..<count).map { g[$0] / unit / squares[$0].squareRoot() }
    return v.enumerated().map { index, value in value * factors[index / inner % count] }
  }

  // MARK: Spectral normalization

  private func findSpectralNorms() {
    let named = names(ending: "_orig").filter { stored.tensors["\($0.stem)_u"] != nil }.map {
      (original: $0.name, logical: $0.stem, u: "\($0.stem)_u", v: "\($0.stem)_v")
    }
    let registered = parametrized(".original").compactMap { name, stem, logical in
      stored.tensors["\(stem).0._u"] == nil
        ? nil : (original: name, logical: logical, u: "\(stem).0._u", v: "\(stem).0._v")
    }
    for found in named + registered {
      guard let weight = tensor(found.original), let u = tensor(found.u) else { continue }
      guard let v = tensor(found.v) else {
        add(
          found.logical, .spectralNorm, [found.original, found.u],
          rule: "a weight and its singular vectors", obstacle: "'\(found.v)' is missing")
        continue
      }
      addSpectralNorm(
        found.logical, [found.original, found.u, found.v], weight: weight, u: u, v: v)
    }
  }

  private func addSpectralNorm(
    _ logical: String, _ parts: [String], weight: Tensor, u: Tensor, v: Tensor
  ) {
    add(logical, .spectralNorm, parts, rule: "a weight and its singular vectors") {
      guard [weight, u, v].allSatisfy(Self.isNumber), weight.shape.rank >= 2 else {
        throw ModelError.mismatch(
          expected: "a weight and two vectors of floating-point numbers",
          found: "\(weight.shape), \(u.shape) and \(v.shape)")
      }
      let dimensions = weight.shape.dimensions
      let axes = dimensions.indices.filter { axis in
        dimensions[axis] == u.shape.elementCount && dimensions[axis] > 0
          && weight.shape.elementCount / dimensions[axis] == v.shape.elementCount
      }
      guard let first = axes.first, u.shape.rank == 1, v.shape.rank == 1 else {
        throw ModelError.mismatch(
          expected: "singular vectors of \(weight.shape)", found: "\(u.shape) and \(v.shape)")
      }
      // Linear layers and convolutions have their outputs first, transposed convolutions second.
      let candidates = weight.shape.rank > 2 ? axes.filter { $0 < 2 } : [first]
      var axis = candidates.first ?? first
      var remark: String?
      if candidates.count > 1 {
        let (w, left, right) = try (weight.doubleValues(), u.doubleValues(), v.doubleValues())
        let fits = candidates.map { Self.alignment(w, left, right, dimensions, axis: $0) }
        if fits[1] > fits[0] { axis = candidates[1] }
        remark =
          "outputs are assumed to lie along axis \(axis), which fits the singular vectors best"
      }
      let tensor = try Tensor(shape: weight.shape) { [axis] in
        let w = try locatingErrors(tensor: parts[0]) { try weight.doubleValues() }
        let (left, right) = try (u.doubleValues(), v.doubleValues())
        let sigma = Self.product(w, left, right, dimensions, axis: axis)
        return w.map { Float($0 / sigma) }
      }
      return Assembled(
        tensor: tensor, rule: "spectral norm, weight / (uᵀ · weight · v)", remark: remark)
    }
  }

  /// Returns W v, where `axis` holds the rows of W and the other axes, in order, its columns.
  private static func rowProducts(
    _ w: [Double], _ v: [Double], _ dimensions: [Int], axis: Int
  ) -> [Double] {
    let inner = dimensions[(axis + 1)...].reduce(1, *)
    let count = dimensions[axis]
    var products = [Double](repeating: 0, count: count)
    for (index, value) in w.enumerated() {
      let column = index / (inner * count) * inner + index % inner
      products[index / inner % count] += value * v[column]
    }
    return products
  }

  /// Returns uᵀ W v.
  private static func product(
    _ w: [Double], _ u: [Double], _ v: [Double], _ dimensions: [Int], axis: Int
  ) -> Double {
    zip(u, rowProducts(w, v, dimensions, axis: axis)).reduce(0) { $0 + $1.0 * $1.1 }
  }

  /// Returns |uᵀ W v| / ‖W v‖, which is near 1 if u and v are singular vectors.
  private static func alignment(
    _ w: [Double], _ u: [Double], _ v: [Double], _ dimensions: [Int], axis: Int
  ) -> Double {
    let products = rowProducts(w, v, dimensions, axis: axis)
    let norm = products.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let sigma = zip(u, products).reduce(0) { $0 + $1.0 * $1.1 }
    return norm > 0 ? sigma.magnitude / norm : 0
  }

  // MARK: Masks and others

  /// Finds tensors of `torch.nn.utils.prune`: a weight and a mask of zeros and ones.
  private func findMasks() {
    for (name, stem) in names(ending: "_mask") {
      guard let mask = tensor(name), let weight = tensor("\(stem)_orig") else { continue }
      add(stem, .parametrization, ["\(stem)_orig", name], rule: "a pruned weight and its mask") {
        guard weight.shape == mask.shape, Self.isNumber(weight) else {
          throw ModelError.mismatch(
            expected: "a mask of the shape \(weight.shape)", found: "\(mask.shape)")
        }
        let tensor = try Tensor(shape: weight.shape) {
          try zip(weight.floatValues(), mask.floatValues()).map { $0 * $1 }
        }
        return Assembled(tensor: tensor, rule: "pruned weight, weight times mask")
      }
    }
  }

  private func findOtherParametrizations() {
    for (name, stem, logical) in parametrized(".original") {
      let parts = ["0.base", "0._u", "0._v", "1.base"].map { "\(stem).\($0)" }
      add(
        logical, .parametrization, [name] + parts.filter { tensor($0) != nil },
        rule: "parametrized tensor",
        obstacle: "the file does not say by which function; 'remove_parametrizations' before "
          + "saving puts the tensor in its place")
    }
  }
}
