import Formats
import LinearAlgebra
import Storage

/// Quantizes one weight by a method, with what is known of its input.
struct LayerQuantizer {
  let settings: MethodSettings
  let planned: QuantizationPlan.Quantization
  /// Statistics of the input; `nil` without calibration.
  let site: SiteStatistics?
  /// The input's quantizer; `nil` where inputs stay in full precision.
  let activation: ActivationQuantizer?
  /// Whether the layer has a bias that may be changed.
  let hasBias: Bool

  struct Outcome {
    let tensor: QuantizedTensor
    let target: [Float]
    /// What is to be added to the bias, a value a row; `nil` where it stays.
    let biasShift: [Double]?
    /// `E‖Wx − Ŵx̂‖² / E‖Wx‖²` with the bias as corrected; `nil` without moments.
    let outputError: Double?
    /// The worst of the weight's parts before and after conditioning; `nil` where there was none.
    let conditionNumbers: (before: Double, after: Double)?
  }

  /// - Parameter values: the weight, row-major and finite.
  /// - Throws: `LAPACKError`, `ModelError`.
  func quantize(_ values: [Float], elementType: ElementType, shape: Shape) throws -> Outcome {
    let layout = planned.layout
    let weight = Matrix(
      rows: layout.rows, columns: layout.columns, values: values.map(Double.init))
    let isErrorAware = settings.method.isErrorAware
    let known = site.flatMap { $0.moments?.columnCount == layout.columns ? $0 : nil }
    let moments = known.flatMap {
      InputMoments($0, activation: activation, isCentered: isErrorAware && hasBias)
    }
    // Where inputs hardly vary their moments are rounding errors, and no weight is better than itself.
    let aware = isErrorAware ? moments.flatMap { $0.varies ? $0 : nil } : nil
    let (target, conditionNumbers) = try target(
      weight, aware: aware, moment: aware?.quantized ?? known?.moments?.second)
    // Nothing was changed: the values themselves, whatever a Double makes of them.
    let targetValues = target == weight ? values : target.values.map { Float($0) }
    let bounds = try bounds(of: targetValues, moment: aware?.quantized)
    let tensor = try tensor(
      targetValues, target, bounds: bounds, moment: aware?.quantized, elementType, shape)
    guard let moments else {
      return Outcome(
        tensor: tensor, target: targetValues, biasShift: nil, outputError: nil,
        conditionNumbers: conditionNumbers)
    }
    let quantized = Matrix(
      rows: layout.rows, columns: layout.columns,
      values: try tensor.floatValues().map(Double.init))
    let shift =
      isErrorAware && hasBias
      ? zip(
        weight.multiplied(by: moments.mean), quantized.multiplied(by: moments.quantizedMean)
      ).map { $0 - $1 } : nil
    return Outcome(
      tensor: tensor, target: targetValues, biasShift: shift,
      outputError: moments.relativeError(of: quantized, from: weight),
      conditionNumbers: conditionNumbers)
  }

  /// What is to be rounded: the weight, made to absorb the activations' error and conditioned, part
  /// by part, as the method asks for.
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

  /// The bounds of each cell: by the values' own error, then, where the inputs' moment is known, by
  /// the output's.
  private func bounds(of values: [Float], moment: Matrix?) throws -> [BoundSearch.Bounds] {
    let layout = planned.layout
    let search = BoundSearch(
      method: planned.search, bitWidth: planned.bitWidth, parameterType: planned.parameterType)
    let largest = values.reduce(0) { max($0, $1.magnitude) }
    return try (0..<layout.cellCount).map { index in
      let cell = layout.cell(index)
      let elements = Array(values[layout.elements(ofCell: index)])
      let plain = search.bounds(of: elements)
      guard let minimum = elements.min(), let maximum = elements.max() else { return plain }
      try BoundSearch.check(plain, minimum: minimum, maximum: maximum, largest: largest)
      guard planned.search == .free, let moment else { return plain }
      let block = moment.block(cell.columns)
      return search.bounds(minimum: minimum, maximum: maximum, startingAt: plain) { code in
        Matrix(
          rows: cell.rows.count, columns: cell.columns.count,
          values: elements.map { Double($0 - code.decode(code.encode($0))) }
        ).energy(block)
      }
    }
  }

  private func tensor(
    _ values: [Float], _ target: Matrix, bounds: [BoundSearch.Bounds], moment: Matrix?,
    _ elementType: ElementType, _ shape: Shape
  ) throws -> QuantizedTensor {
    let layout = planned.layout
    let nearest = try QuantizedTensor.encode(
      values: values, layout: layout, bitWidth: planned.bitWidth,
      parameterType: planned.parameterType, lower: bounds.map(\.lower), scale: bounds.map(\.scale),
      elementType: elementType, shape: shape)
    guard let moment else { return nearest }
    let quantizers = (0..<layout.cellCount).map(nearest.code(ofCell:))
    let codes = try ErrorAwareRounding().round(target, moment: moment) { row, column in
      quantizers[layout.cellIndex(row: row, column: column)]
    }
    return try QuantizedTensor(
      elementType: elementType, shape: shape, layout: layout, bitWidth: planned.bitWidth,
      parameterType: planned.parameterType, lower: nearest.lower, scale: nearest.scale,
      codes: BitStream.pack(codes, bitWidth: planned.bitWidth))
  }
}

extension AffineLayout {
  /// The cell of the element in `row` and `column`.
  func cellIndex(row: Int, column: Int) -> Int {
    switch granularity {
    case .tensor: row / (rows / parts)
    case .channel: row
    case .group(let groupSize): row * ((columns - 1) / groupSize + 1) + column / groupSize
    }
  }
}

extension Matrix {
  /// The square block on the diagonal at `range`.
  fileprivate func block(_ range: Range<Int>) -> Matrix {
    guard range != 0..<columns else { return self }
    return Matrix(
      rows: range.count, columns: range.count,
      values: range.flatMap { row in range.map { self[row, $0] } })
  }
}

/// The elements of a weight in Float32, in which codes are computed.
enum WeightValues {
  /// The elements of `tensor`, row-major.
  ///
  /// - Throws: `ModelError` when they cannot be read, and for the first that is not finite,
  ///   or passes Float32's largest number, and for a float64 tensor of which Float32 keeps only zeros.
  static func of(_ name: String, _ tensor: Tensor) throws -> [Float] {
    let values = try locatingErrors(tensor: name) { try tensor.floatValues() }
    if let element = values.firstIndex(where: { !$0.isFinite }) {
      throw notFinite(
        name, element: element, value: values[element], exact: try exact(tensor)?[element])
    }
    if !values.contains(where: { $0 != 0 }), let exact = try exact(tensor) {
      try checkUnderflow(name, count: exact.count) { exact[$0] }
    }
    return values
  }

  private static func exact(_ tensor: Tensor) throws -> [Double]? {
    tensor.elementType == .float64 ? try tensor.doubleValues() : nil
  }

  /// - Parameter exact: the value before rounding to Float32; `nil` where it was not rounded.
  static func notFinite(_ name: String, element: Int, value: Float, exact: Double?)
    -> ModelError
  {
    let text =
      exact.map { $0.isFinite ? "\($0), past Float32's largest number" : "\($0)" } ?? "\(value)"
    return ModelError("element \(element) is \(text), which cannot be quantized", tensor: name)
  }

  /// Checks a tensor whose elements all are zero in Float32.
  ///
  /// - Parameter exact: an element before rounding.
  /// - Throws: `ModelError` when one is not zero.
  static func checkUnderflow(_ name: String, count: Int, exact: (Int) -> Double) throws {
    var largest = 0.0
    for index in 0..<count { largest = max(largest, exact(index).magnitude) }
    guard largest > 0 else { return }
    throw ModelError(
      "its largest magnitude, \(largest), is less than Float32's smallest number, so that "
        + "every weight would become zero", tensor: name)
  }
}
