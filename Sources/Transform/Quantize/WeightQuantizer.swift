import Formats
import LinearAlgebra
import Storage

/// Quantizes the weights of a plan, one call per weight.
///
/// A weight whose inputs are unknown and that no method changes is rounded block by block from its
/// stored bytes; any other is a matrix in memory. The result depends only on the plan, the weight
/// and the statistics of its input, so calls may run in any order and on any number of threads.
struct WeightQuantizer: Sendable {
  let plan: QuantizationPlan
  let settings: MethodSettings

  /// - Parameter settings: the method in place of that of the plan's recipe.
  init(plan: QuantizationPlan, settings: MethodSettings? = nil) {
    self.plan = plan
    self.settings = settings ?? plan.recipe.method
  }

  /// The known properties of the layer that multiplies by a weight.
  struct Layer: Sendable {
    /// Statistics of the input; `nil` without calibration.
    var site: SiteStatistics?
    /// The input's quantizer; `nil` if inputs stay in full precision.
    var activation: ActivationQuantizer?
    /// Whether the layer has a bias that may be changed.
    var hasBias = false
  }

  struct Outcome: Sendable {
    let tensor: QuantizedTensor
    /// The cost of rounding, relative to the weight before the method changed it.
    let cost: RoundingCost
    /// The values that the codes approximate, row-major; `nil` if they are the weight itself.
    var target: [Float]?
    /// The correction to add to the bias, one value per row; `nil` if the bias stays.
    var biasShift: [Double]?
    /// `E‖Wx − Ŵx̂‖² / E‖Wx‖²` with the corrected bias; `nil` without moments.
    var outputError: Double?
    /// The condition numbers of the worst part before and after conditioning; `nil` without it.
    var conditionNumbers: (before: Double, after: Double)?
  }

  /// Quantizes the tensor of that name as planned.
  ///
  /// - Throws: `ModelError` when the plan keeps the tensor or is for another type or shape, or when
  ///   the elements are not finite, cannot be read or conditioned, or have bounds that do not fit
  ///   the type of the parameters.
  func quantize(_ name: String, _ tensor: Tensor, of layer: Layer = Layer()) throws -> Outcome {
    guard let entry = plan.entries[name], let planned = entry.quantization else {
      throw ModelError("the plan does not quantize it", tensor: name)
    }
    guard entry.elementType == tensor.elementType, entry.shape == tensor.shape else {
      throw ModelError(
        """
        the plan is for \(entry.elementType) \(entry.shape), found \(tensor.elementType) \
        \(tensor.shape)
        """, tensor: name)
    }
    do {
      return try locatingErrors(tensor: name) {
        let encoder = try TensorEncoder(
          tensor.bytes(), elementType: tensor.elementType, shape: tensor.shape, spec: planned.spec)
        let extremes = try WeightValues.extremes(of: encoder)
        let known = layer.site.flatMap {
          $0.moments?.columnCount == planned.spec.layout.columns ? $0 : nil
        }
        guard settings.conditioner != nil || known?.moments != nil else {
          let (quantized, cost) = try encoder.encode(
            Self.parameters(planned.search, planned.spec, encoder, extremes))
          return Outcome(tensor: quantized, cost: cost)
        }
        return try WeightMatrix(
          planned: planned, settings: settings, site: known, activation: layer.activation,
          hasBias: layer.hasBias
        ).quantized(encoder, extremes)
      }
    } catch let error as LAPACKError {
      throw ModelError("\(error)", tensor: name)
    }
  }

  /// Returns the parameters of all cells that minimize the error of their values.
  ///
  /// - Parameter importance: what an error of a column counts in a joint search; `nil` if all count
  ///   the same.
  fileprivate static func parameters(
    _ method: BoundSearchMethod, _ spec: AffineSpec, _ encoder: TensorEncoder,
    _ extremes: [TensorEncoder.CellExtremes], importance: [Float]? = nil
  ) throws -> AffineParameters {
    guard method == .joint else {
      return try AffineParameters(rounding: bounds(method, spec, encoder, extremes), to: spec)
    }
    let parameters = try encoder.groupParameters(importance: importance)
    let largest = extremes.reduce(0) { max($0, $1.least.magnitude, $1.largest.magnitude) }
    for (index, extremes) in extremes.enumerated() {
      try BoundSearch.check(
        BoundSearch.Bounds(lower: parameters.lower[index], scale: parameters.scale[index]),
        minimum: extremes.least, maximum: extremes.largest, largest: largest)
    }
    return parameters
  }

  /// Returns the bounds of each cell that minimize the error of its values.
  fileprivate static func bounds(
    _ method: BoundSearchMethod, _ spec: AffineSpec, _ encoder: TensorEncoder,
    _ extremes: [TensorEncoder.CellExtremes]
  ) throws -> [BoundSearch.Bounds] {
    let search = BoundSearch(method: method, spec)
    let largest = extremes.reduce(0) { max($0, $1.least.magnitude, $1.largest.magnitude) }
    return try extremes.enumerated().map { cell, extremes in
      let (least, most) = (extremes.least, extremes.largest)
      let found: BoundSearch.Bounds
      if method == .minimumMaximum || least == most {
        found = search.bounds(minimum: least, maximum: most) { _ in 0 }
      } else {
        found = encoder.withValues(spec.layout.elements(ofCell: cell)) { values in
          search.bounds(minimum: least, maximum: most) { $0.squaredError(of: values) }
        }
      }
      try BoundSearch.check(found, minimum: least, maximum: most, largest: largest)
      return found
    }
  }
}

extension AffineParameters {
  /// - Parameter bounds: one per cell.
  fileprivate init(rounding bounds: [BoundSearch.Bounds], to spec: AffineSpec) throws {
    try self.init(rounding: bounds.map(\.lower), bounds.map(\.scale), to: spec)
  }
}

/// A weight in memory that a method changes before rounding, or rounds so that the error of the
/// layer's output is minimal.
private struct WeightMatrix {
  let planned: QuantizationPlan.Quantization
  let settings: MethodSettings
  /// Statistics of the input, with moments; `nil` without calibration.
  let site: SiteStatistics?
  let activation: ActivationQuantizer?
  let hasBias: Bool

  private var layout: AffineLayout { planned.spec.layout }

  /// - Parameter extremes: the extremes of each cell.
  /// - Throws: `LAPACKError`, `ModelError`.
  func quantized(
    _ encoder: TensorEncoder, _ extremes: [TensorEncoder.CellExtremes]
  ) throws -> WeightQuantizer.Outcome {
    let values = encoder.withValues(0..<layout.elementCount) { Array($0) }
    let weight = Matrix(
      rows: layout.rows, columns: layout.columns, values: values.map(Double.init))
    let isErrorAware = settings.method.isErrorAware
    let moments = site.flatMap {
      InputMoments($0, activation: activation, isCentered: isErrorAware && hasBias)
    }
    // If inputs hardly vary, their moments are rounding errors, which cannot improve a weight.
    let aware = isErrorAware ? moments.flatMap { $0.varies ? $0 : nil } : nil
    let (target, conditionNumbers) = try target(
      weight, aware: aware, moment: aware?.quantized ?? site?.moments?.second)
    var (targetEncoder, targetExtremes) = (encoder, extremes)
    // An unchanged weight keeps its own values, without a round trip through Double.
    let isChanged = target != weight
    let targetValues = isChanged ? target.values.map { Float($0) } : values
    if isChanged {
      targetEncoder = try encoder.encoder(of: targetValues)
      targetExtremes = try WeightValues.extremes(of: targetEncoder)
    }
    var tensor = try targetEncoder.encode(
      parameters(targetEncoder, targetExtremes, moment: aware?.quantized)
    ).tensor
    if let moment = aware?.quantized { tensor = try rounded(target, moment: moment, tensor) }
    var outcome = WeightQuantizer.Outcome(
      tensor: tensor, cost: try QuantizationError(of: tensor, from: values).cost,
      target: isChanged ? targetValues : nil, conditionNumbers: conditionNumbers)
    guard let moments else { return outcome }
    let quantized = Matrix(
      rows: layout.rows, columns: layout.columns,
      values: try tensor.floatValues().map(Double.init))
    if isErrorAware && hasBias {
      outcome.biasShift = zip(
        weight.multiplied(by: moments.mean), quantized.multiplied(by: moments.quantizedMean)
      ).map { $0 - $1 }
    }
    outcome.outputError = moments.relativeError(of: quantized, from: weight)
    return outcome
  }

  /// Returns the matrix to round: the weight, which, as the method requires, absorbs the
  /// activations' error and is conditioned, part by part.
  private func target(_ weight: Matrix, aware: InputMoments?, moment: Matrix?) throws
    -> (matrix: Matrix, conditionNumbers: (before: Double, after: Double)?)
  {
    let height = weight.rows / planned.stackedCount
    var values: [Double] = []
    values.reserveCapacity(weight.values.count)
    var worst: (before: Double, after: Double)?
    for part in 0..<planned.stackedCount {
      var matrix = weight.rows(part * height..<(part + 1) * height)
      if let aware, activation != nil {
        matrix = try ErrorAwareRounding().absorbing(aware, in: matrix)
      }
      if let conditioner = settings.conditioner {
        let outcome = try conditioner.condition(matrix, moment: moment)
        matrix = outcome.matrix
        if let before = outcome.conditionNumberBefore, let after = outcome.conditionNumberAfter {
          worst = (max(worst?.before ?? 0, before), max(worst?.after ?? 0, after))
        }
      }
      values += matrix.values
    }
    return (Matrix(rows: weight.rows, columns: weight.columns, values: values), worst)
  }

  /// Returns the parameters of all cells, found by the values' own error and then, if the inputs'
  /// moment is known, by that of the output; in a joint search by that of outputs whose inputs do
  /// not correlate.
  private func parameters(
    _ encoder: TensorEncoder, _ extremes: [TensorEncoder.CellExtremes], moment: Matrix?
  ) throws -> AffineParameters {
    guard planned.search == .free, let moment else {
      return try WeightQuantizer.parameters(
        planned.search, planned.spec, encoder, extremes, importance: importance(moment))
    }
    let plain = try WeightQuantizer.bounds(planned.search, planned.spec, encoder, extremes)
    let search = BoundSearch(method: planned.search, planned.spec)
    let bounds = plain.enumerated().map { index, plain in
      let cell = layout.cell(index)
      let block = moment.block(cell.columns)
      let elements = encoder.withValues(layout.elements(ofCell: index)) { Array($0) }
      return search.bounds(
        minimum: extremes[index].least, maximum: extremes[index].largest, startingAt: plain
      ) { code in
        Matrix(
          rows: cell.rows.count, columns: cell.columns.count,
          values: elements.map { Double($0 - code.decode(code.encode($0))) }
        ).energy(block)
      }
    }
    return try AffineParameters(rounding: bounds, to: planned.spec)
  }

  /// Returns the energy of each column of the input, relative to their mean; `nil` if unknown.
  private func importance(_ moment: Matrix?) -> [Float]? {
    guard let moment = moment ?? site?.moments?.second else { return nil }
    let energies = moment.diagonal.map { max(0, $0) }
    let mean = energies.reduce(0, +) / Double(energies.count)
    guard mean > 0, mean.isFinite else { return nil }
    return energies.map { Float($0 / mean) }
  }

  /// Returns the codes, between the bounds of `nearest`, that minimize the error of the layer's
  /// output.
  private func rounded(
    _ target: Matrix, moment: Matrix, _ nearest: QuantizedTensor
  ) throws -> QuantizedTensor {
    let quantizers = (0..<layout.cellCount).map(nearest.code(ofCell:))
    let codes = try ErrorAwareRounding().round(target, moment: moment) { row, column in
      quantizers[layout.cellIndex(row: row, column: column)]
    }
    return try QuantizedTensor(
      elementType: nearest.elementType, shape: nearest.shape, spec: nearest.spec,
      parameters: nearest.parameters,
      codes: BitStream.pack(codes, bitWidth: nearest.bitWidth))
  }
}

extension Matrix {
  /// Returns the square block on the diagonal at `range`.
  fileprivate func block(_ range: Range<Int>) -> Matrix {
    guard range != 0..<columns else { return self }
    return Matrix(
      rows: range.count, columns: range.count,
      values: range.flatMap { row in range.map { self[row, $0] } })
  }
}

/// The elements of a weight in Float32, in which codes are computed.
enum WeightValues {
  /// Returns the elements of `tensor`, row-major.
  ///
  /// - Throws: `ModelError` when they cannot be read, and as `extremes(of:)` does.
  static func of(_ name: String, _ tensor: Tensor, _ spec: AffineSpec) throws -> [Float] {
    try locatingErrors(tensor: name) {
      let encoder = try TensorEncoder(
        tensor.bytes(), elementType: tensor.elementType, shape: tensor.shape, spec: spec)
      _ = try extremes(of: encoder)
      return encoder.withValues(0..<spec.layout.elementCount) { Array($0) }
    }
  }

  /// Finds the least and the largest value of each cell.
  ///
  /// - Throws: `ModelError` for the first element that is not finite or exceeds Float32's largest
  ///   number, and for a float64 tensor whose elements all become zero in Float32.
  static func extremes(of encoder: TensorEncoder) throws -> [TensorEncoder.CellExtremes] {
    switch encoder.extremes() {
    case .notFinite(let element, let value):
      let exact = encoder.exactValue(at: element)
      let text = exact.isFinite ? "\(exact), beyond Float32's largest number" : "\(value)"
      throw ModelError("element \(element) is \(text), which cannot be quantized")
    case .found(let cells):
      if cells.allSatisfy({ $0.least == 0 && $0.largest == 0 }) {
        let largest = (0..<encoder.elementCount).reduce(0) {
          max($0, encoder.exactValue(at: $1).magnitude)
        }
        guard largest == 0 else {
          throw ModelError(
            "its largest magnitude, \(largest), is less than Float32's smallest number, so that "
              + "every weight would become zero")
        }
      }
      return cells
    }
  }
}
