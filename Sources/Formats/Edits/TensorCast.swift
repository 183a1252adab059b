import Storage

/// The values that a cast to another element type changes, by what becomes of them.
///
/// ```swift
/// let changes = try FormatRegistry.standard.open("model.pth")
///   .edited(by: ArchiveEdits(casts: [.init("*.weight", to: .float16)])).changes
/// for loss in try changes.castLosses() { print(loss.name, loss.overflowCount, loss.zeroedCount) }
/// ```
public struct CastLoss: Codable, Hashable, Sendable {
  /// The name of the tensor in the output.
  public var name: String
  /// The element type in the input.
  public var from: String
  /// The element type in the output.
  public var to: String
  /// The number of elements.
  public var elementCount = 0
  /// Finite values that rounding moves, those of the other counts included.
  public var roundedCount = 0
  /// Finite values beyond the largest of the new type, which become infinite; NaN in 8-bit types
  /// that have no infinity, as in PyTorch.
  public var overflowCount = 0
  /// Values other than zero that become zero.
  public var zeroedCount = 0
  /// Values that rounding moves and that become subnormal, which have fewer digits than others.
  public var subnormalCount = 0

  init(name: String, from: ElementType, to: ElementType) {
    self.name = name
    self.from = from.rawValue
    self.to = to.rawValue
  }
}

extension Tensor {
  /// Elements that are cast at once.
  private static let castCountAtOnce = 1 << 18

  /// Returns the elements in another floating-point type, rounded to nearest, ties to even, and
  /// counts what that loses.
  ///
  /// NaN stays NaN, and infinities stay infinite in types that have them.
  ///
  /// - Parameters:
  ///   - target: one of `ElementType.castTargets`.
  ///   - loss: gets the counts.
  /// - Throws: `ModelError` as `doubleValues()` does.
  func castBytes(to target: ElementType, counting loss: inout CastLoss) throws -> SharedBytes {
    let width = target.bitWidth / 8
    let source = try bytes()
    let count = shape.elementCount
    let inputBits = elementType.bitWidth
    loss.elementCount = count
    var found = loss
    let result = try SharedBytes(count: count * width) { output in
      // A multiple of 8 elements begins at a whole byte, whatever the type.
      for start in stride(from: 0, to: count, by: Self.castCountAtOnce) {
        let end = min(start + Self.castCountAtOnce, count)
        let piece = try Tensor(
          elementType: elementType, shape: Shape([end - start])!,
          bytes: source.slice(start * inputBits / 8..<end * inputBits / 8))
        let place = UnsafeMutableRawBufferPointer(rebasing: output[start * width..<end * width])
        if elementType == .float64 {
          Self.cast(try piece.doubleValues(), to: target, into: place, counting: &found)
        } else {
          Self.cast(try piece.floatValues(), to: target, into: place, counting: &found)
        }
      }
    }
    loss = found
    return result
  }

  private static func cast<Value: BinaryFloatingPoint>(
    _ values: [Value], to target: ElementType, into output: UnsafeMutableRawBufferPointer,
    counting loss: inout CastLoss
  ) {
    func store<Code: BitwiseCopyable>(
      leastNormal: Value, _ encode: (Value) -> Code, _ decode: (Code) -> Value
    ) {
      var (rounded, overflow, zeroed, subnormal) = (0, 0, 0, 0)
      for (index, value) in values.enumerated() {
        let code = encode(value)
        output.storeBytes(of: code, toByteOffset: index * MemoryLayout<Code>.size, as: Code.self)
        let back = decode(code)
        guard back != value, value.isFinite else { continue }
        rounded += 1
        if !back.isFinite {
          overflow += 1
        } else if back == 0 {
          zeroed += 1
        } else if back.magnitude < leastNormal {
          subnormal += 1
        }
      }
      loss.roundedCount += rounded
      loss.overflowCount += overflow
      loss.zeroedCount += zeroed
      loss.subnormalCount += subnormal
    }
    switch target {
    case .float64: store(leastNormal: 0, { Double($0) }, { Value($0) })
    case .float32:
      store(leastNormal: Value(Float.leastNormalMagnitude), { Float($0) }, { Value($0) })
    case .float16:
      store(leastNormal: Value(Float16.leastNormalMagnitude), { Float16($0) }, { Value($0) })
    case .bfloat16:
      store(
        leastNormal: Value(Float.leastNormalMagnitude),
        { QuantizedTensor.bfloat16Bits(roundingToOdd: $0) },
        { Value(Float(bitPattern: UInt32($0) << 16)) })
    default:
      let format = NarrowFloat(target)!  // the others of `castTargets`
      let table = (0..<256).map { Value(format.decode($0)) }
      store(
        leastNormal: Value(format.leastNormalMagnitude), { format.encode(Double($0)) },
        { (code: UInt8) in table[Int(code)] })
    }
  }
}

extension QuantizedTensor {
  /// Returns the bfloat16 nearest to `value`, ties to even, also for a Double; NaN stays NaN.
  fileprivate static func bfloat16Bits(roundingToOdd value: some BinaryFloatingPoint) -> UInt16 {
    guard !value.isNaN else { return value.sign == .minus ? 0xFFC0 : 0x7FC0 }
    var float = Float(value)
    if let wide = value as? Double, Double(float) != wide, float.isFinite {
      // Rounding twice could break a tie the wrong way; an odd last bit says that there was more.
      if abs(Double(float)) > abs(wide) {
        float = float > 0 ? float.nextDown : float.nextUp
      }
      float = Float(bitPattern: float.bitPattern | 1)
    }
    return bfloat16Bits(float)
  }
}
