import Formats
import Glibc
import LinearAlgebra
import Storage

/// Equalizes the channels of layers' inputs before quantization, without changing what the model
/// computes.
///
/// One quantizer serves all channels of an input, so channels with a wide range leave few steps to
/// those with a narrow one. If a normalization or a depthwise convolution produces the input, it
/// can produce `(x − z) / d` instead, with one offset `z` and one factor `d` per channel, and the
/// layer can undo that:
///
///     W x + c = (W diag d) ((x − z) / d) + (c + W z)
///
/// Factors are those of SmoothQuant (Xiao et al. 2023, arXiv:2211.10438, equation 3), offsets those
/// of Outlier Suppression+ (Wei et al. 2023, arXiv:2304.09145, equation 3) with the mean as the
/// center: `z = E[x]` and `d = σ^strength`, with σ the standard deviation over its geometric mean.
/// Packed files keep normalizations, convolutions and biases in full precision, so this costs no
/// bytes. The packed file's weights also differ from the original's by these factors, so a
/// comparison weight by weight does not show the cost of quantization.
package struct ChannelEqualization: Sendable {
  /// The exponent of factors: 0 leaves them at 1; 1 makes all channels vary alike, so that the
  /// weight's columns differ instead.
  static let strength = 0.5
  /// The limit of factors, whose inverse is their lower limit.
  static let largestFactor = 16.0

  /// The tensors that change, in Float32, by name.
  package let tensors: [String: Tensor]

  /// Finds the offsets and factors layer by layer; layers that cannot be equalized exactly stay as
  /// they are.
  ///
  /// - Parameters:
  ///   - archive: the model in full precision.
  ///   - plan: the plan, whose quantized layers are equalized.
  ///   - sites: the model's sites; those with an origin can be equalized.
  ///   - calibration: the calibration, with moments, of the unchanged model.
  /// - Throws: `ModelError` when a tensor cannot be read.
  package init(
    _ archive: TensorArchive, plan: QuantizationPlan, sites: [ActivationSite],
    calibration: Calibration
  ) throws {
    var tensors: [String: Tensor] = [:]
    for site in sites {
      guard let origin = site.origin, let weightName = site.weightName,
        let moments = calibration.sites[site.name]?.moments,
        let layer = EqualizedLayer(archive, plan: plan, weightName: weightName, origin: origin)
      else { continue }
      try tensors.merge(layer.equalized(by: moments)) { $1 }
    }
    self.tensors = tensors
  }

  /// Returns the model with the changed tensors.
  package func applied(to archive: TensorArchive) -> TensorArchive {
    var result = archive
    for (name, tensor) in tensors { result.tensors[name] = tensor }
    return result
  }

  /// Returns the offsets to subtract from channels and the factors by which to divide them.
  ///
  /// - Parameter isCentered: whether offsets can be moved.
  static func shift(
    _ moments: SiteStatistics.Moments, isCentered: Bool
  ) -> (offsets: [Double], factors: [Double]) {
    let deviations = moments.mean.indices.map { channel in
      let mean = isCentered ? moments.mean[channel] : 0
      return max(0, moments.second[channel, channel] - mean * mean).squareRoot()
    }
    let offsets = isCentered ? moments.mean : moments.mean.map { _ in 0 }
    let logarithms = deviations.filter { $0 > 0 }.map(log)
    let center = logarithms.reduce(0, +) / Double(max(1, logarithms.count))
    return (
      offsets,
      deviations.map { deviation in
        // A constant channel only has an offset.
        guard deviation > 0 else { return 1 }
        return max(1 / largestFactor, min(largestFactor, exp(strength * (log(deviation) - center))))
      }
    )
  }
}

/// A layer whose input's channels can be shifted and scaled, with the tensors that this changes.
private struct EqualizedLayer {
  typealias NamedTensor = (name: String, tensor: Tensor)

  let weight: NamedTensor
  let bias: NamedTensor?
  /// The tensors to scale, whose first axis is the channels.
  let scaled: [NamedTensor]
  let offset: NamedTensor?

  /// Creates the layer; `nil` if a tensor is missing, not Float32 or shared with other layers, or
  /// if the plan keeps the weight or quantizes one of the others.
  init?(
    _ archive: TensorArchive, plan: QuantizationPlan, weightName: String,
    origin: ActivationSite.Origin
  ) {
    func tensor(_ name: String, isQuantized: Bool = false) -> NamedTensor? {
      guard let tensor = archive.tensors[name], let entry = plan.entries[name],
        tensor.elementType == .float32, (entry.quantization != nil) == isQuantized,
        !plan.isShared(name)
      else { return nil }
      return (name, tensor)
    }
    let scaled = origin.scaledNames.compactMap { tensor($0) }
    guard let weight = tensor(weightName, isQuantized: true), weight.tensor.shape.rank == 2,
      scaled.count == origin.scaledNames.count
    else { return nil }
    self.weight = weight
    self.scaled = scaled
    let bias = ModelQuantizer.biasName(ofWeight: weightName).flatMap { tensor($0) }
    let offset = origin.offsetName.flatMap { tensor($0) }
    // Moving an offset requires both the offset and the bias.
    self.bias = offset == nil ? nil : bias
    self.offset = bias == nil ? nil : offset
  }

  func equalized(by moments: SiteStatistics.Moments) throws -> [String: Tensor] {
    let columns = moments.columnCount
    let rows = weight.tensor.shape.elementCount / max(1, columns)
    guard weight.tensor.shape == Shape([rows, columns]),
      scaled.allSatisfy({ $0.tensor.shape.dimensions.first == columns }),
      offset.map({ $0.tensor.shape == Shape([columns]) }) ?? true,
      bias.map({ $0.tensor.shape == Shape([rows]) }) ?? true
    else { return [:] }
    let (offsets, factors) = ChannelEqualization.shift(moments, isCentered: offset != nil)
    var changed: [(old: NamedTensor, values: [Double])] = []
    for old in scaled {
      var values = try Self.values(of: old)
      let count = values.count / columns
      for index in values.indices {
        if old.name == offset?.name { values[index] -= offsets[index / count] }
        values[index] /= factors[index / count]
      }
      changed.append((old, values))
    }
    let weights = try Self.values(of: weight)
    changed.append((weight, weights.indices.map { weights[$0] * factors[$0 % columns] }))
    if let bias {
      let added = Matrix(rows: rows, columns: columns, values: weights).multiplied(by: offsets)
      changed.append((bias, try zip(Self.values(of: bias), added).map(+)))
    }
    guard changed.allSatisfy({ $0.values.allSatisfy { Float($0).isFinite } }) else { return [:] }
    return try changed.reduce(into: [:]) { tensors, change in
      tensors[change.old.name] = try Tensor(
        elementType: .float32, shape: change.old.tensor.shape,
        bytes: try ElementType.float32.bytes(of: change.values))
    }
  }

  private static func values(of named: NamedTensor) throws -> [Double] {
    try locatingErrors(tensor: named.name) { try named.tensor.doubleValues() }
  }
}
