import CFiles
import Glibc

/// Immutable bytes that keep their memory alive, a mapped file or an allocation.
///
/// Copying or slicing shares the memory. The pointer never leaves `withUnsafeBytes`.
///
/// ```swift
/// let bytes = SharedBytes(elementsOf: [Float(1), -1])
/// print(bytes.count, bytes.slice(4..<8).array)  // 8 [0, 0, 128, 191]
/// let second = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 4, as: Float.self) }
/// print(second)  // -1.0
/// ```
public struct SharedBytes: @unchecked Sendable {
  // Sendable: the memory is never written after initialization, and `owner` keeps it allocated.
  @usableFromInline let owner: AnyObject?
  @usableFromInline let buffer: UnsafeRawBufferPointer

  /// Creates bytes that share the memory of `buffer`.
  ///
  /// - Parameter owner: The object whose deinitializer releases `buffer`.
  package init(_ buffer: UnsafeRawBufferPointer, owner: AnyObject) {
    self.buffer = buffer
    self.owner = owner
  }

  /// Creates an empty sequence of bytes.
  public init() {
    owner = nil
    buffer = UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// Creates a copy of `bytes`.
  @inlinable public init(_ bytes: some Collection<UInt8>) {
    self.init(count: bytes.count) { memory in
      // Without specialization, `initializeMemory` makes one call per byte.
      let isCopied: Void? = bytes.withContiguousStorageIfAvailable {
        memory.copy(UnsafeRawBufferPointer($0))
      }
      if isCopied == nil { _ = memory.initializeMemory(as: UInt8.self, from: bytes) }
    }
  }

  /// Creates bytes by concatenating `parts`.
  package init(joining parts: [SharedBytes]) {
    self.init(count: parts.reduce(0) { $0 + $1.count }) { memory in
      var offset = 0
      for part in parts {
        part.withUnsafeBytes { memory.copy($0, at: offset) }
        offset += part.count
      }
    }
  }

  /// Creates `count` zeroed bytes and lets `initialize` fill them.
  public init(
    count: Int, initializingWith initialize: (UnsafeMutableRawBufferPointer) throws -> Void
  ) rethrows {
    let allocation = Allocation(byteCount: count)
    try initialize(allocation.buffer)
    self.init(UnsafeRawBufferPointer(allocation.buffer), owner: allocation)
  }

  /// Creates a copy of the elements of `array`, in little-endian order.
  @inlinable public init<Element: BitwiseCopyable>(elementsOf array: [Element]) {
    self = array.withUnsafeBytes { SharedBytes($0) }
  }

  /// The number of bytes.
  @inlinable public var count: Int { buffer.count }
  /// Whether there are no bytes.
  @inlinable public var isEmpty: Bool { buffer.isEmpty }

  /// Calls `body` with the bytes, which are valid only during the call.
  @inlinable public func withUnsafeBytes<Result>(
    _ body: (UnsafeRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    try withExtendedLifetime(owner) { try body(buffer) }
  }

  /// Returns the bytes of `range`, counted from zero, sharing this memory.
  ///
  /// - Precondition: `range` lies within `0..<count`.
  public func slice(_ range: Range<Int>) -> SharedBytes {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "slice out of bounds")
    guard let owner else { return SharedBytes() }
    return SharedBytes(UnsafeRawBufferPointer(rebasing: buffer[range]), owner: owner)
  }

  /// A copy as an array, intended for small pieces such as headers.
  public var array: [UInt8] { withUnsafeBytes { Array($0) } }

  /// Returns the first range in which the bytes of `text` occur.
  package func firstRange(of text: String) -> Range<Int>? {
    withUnsafeBytes { buffer in
      guard let start = buffer.baseAddress,
        let found = condi_find(start, buffer.count, text, text.utf8.count)
      else { return nil }
      let offset = found - start
      return offset..<offset + text.utf8.count
    }
  }

  /// Whether both have equal contents, regardless of where they are stored.
  package func elementsEqual(_ other: SharedBytes) -> Bool {
    guard count == other.count else { return false }
    return withUnsafeBytes { left in
      other.withUnsafeBytes { right in
        left.isEmpty || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
      }
    }
  }

  /// Zeroed memory aligned for SIMD loads.
  ///
  /// Large allocations are mapped directly: the system provides zeroed pages, huge ones where it
  /// can, so the memory is not cleared before the initializer writes it.
  private final class Allocation {
    let buffer: UnsafeMutableRawBufferPointer
    private let isMapped: Bool

    private static let leastMappedByteCount = 1 << 22

    init(byteCount: Int) {
      if byteCount >= Self.leastMappedByteCount,
        let pages = mmap(
          nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
        pages != MAP_FAILED
      {
        // Only a hint; the system may ignore it.
        madvise(pages, byteCount, Int32(MADV_HUGEPAGE))
        buffer = UnsafeMutableRawBufferPointer(start: pages, count: byteCount)
        isMapped = true
        return
      }
      // Traps with a message if memory is exhausted here as well.
      buffer = .allocate(byteCount: byteCount, alignment: 64)
      buffer.initializeMemory(as: UInt8.self, repeating: 0)
      isMapped = false
    }

    deinit {
      if isMapped {
        munmap(buffer.baseAddress, buffer.count)
      } else {
        buffer.deallocate()
      }
    }
  }
}

extension [UInt8] {
  /// Appends integers, little-endian and without gaps.
  package mutating func append<each Field: FixedWidthInteger>(fields: repeat each Field) {
    for field in repeat each fields {
      Swift.withUnsafeBytes(of: field.littleEndian) { append(contentsOf: $0) }
    }
  }
}
