// The video: several files that follow each other are one recording.
import { clock, markEnd, markStart, parts, store, tell } from "review/store.js";

const PROBLEMS = {
  2: "could not be read to its end",
  3: "is damaged, or of a kind that this browser cannot decode",
  4: "cannot be played by this browser: its codec or container is not known to it",
};

export default {
  template: `
    <div class="player">
      <video ref="video" controls playsinline preload="metadata" disablepictureinpicture
        @loadedmetadata="ready" @playing="tick" @timeupdate="read" @play="store.playing = true"
        @pause="paused" @ended="ended" @error="failed"></video>
      <div class="problem" v-if="problem" role="alert">{{ problem }}</div>
      <div class="player-line">
        <span class="clock">{{ clock(store.time) }}</span>
        <span class="faint">of {{ clock(store.duration, 0) }}</span>
        <span class="faint" v-if="store.chunks.length > 1">{{ store.chunks[index].name }}</span>
        <span class="marks">
          <span class="faint">New segment{{ store.mark === null ? "" : " from " + clock(store.mark) }}</span>
          <button type="button" title="A new segment starts here (i)" @click="markStart">Starts here</button>
          <button type="button" title="It ends here (o)" :disabled="store.mark === null" @click="markEnd">Ends here</button>
        </span>
      </div>
    </div>`,
  data: () => ({ store, index: 0, problem: "" }),
  created() {
    this.wanted = null; // seconds of a file that is being opened
    this.resumes = false; // whether it plays on once it is open
    this.spans = []; // that are played one after the other
  },
  mounted() {
    Object.assign(parts, { seek: this.seek, play: this.play, toggle: this.toggle });
    this.open(0, 0, false);
  },
  methods: {
    clock,
    markEnd,
    markStart,
    seek(time) {
      this.spans = [];
      this.go(time, !this.$refs.video.paused || this.resumes);
    },
    play(spans) {
      if (!spans.length) return tell("There is no segment to play.");
      this.spans = spans.slice();
      this.go(spans[0][0], true);
    },
    toggle() {
      if (this.$refs.video.paused) this.start();
      else this.$refs.video.pause();
    },
    go(time, plays) {
      const last = store.chunks[store.chunks.length - 1];
      const inside = Math.min(Math.max(time, 0), last.offset + last.duration - 0.01);
      const after = store.chunks.findIndex((chunk) => chunk.offset > inside);
      const index = after < 0 ? store.chunks.length - 1 : after - 1;
      const local = inside - store.chunks[index].offset;
      store.time = inside;
      if (index !== this.index || this.$refs.video.readyState < 1) {
        this.open(index, local, plays);
      } else {
        this.$refs.video.currentTime = local;
        if (plays) this.start();
      }
    },
    open(index, local, plays) {
      const fresh = index !== this.index || !this.$refs.video.src;
      Object.assign(this, { index, wanted: local, resumes: plays });
      if (!fresh) return;
      this.problem = "";
      this.$refs.video.src = store.chunks[index].url;
    },
    ready() {
      if (this.wanted) this.$refs.video.currentTime = this.wanted;
      this.wanted = null;
      if (this.resumes) this.start();
      this.resumes = false;
    },
    start() {
      this.$refs.video.play().catch(() => {}); // what went wrong is told by the error event
    },
    read() {
      if (this.wanted !== null || this.$refs.video.readyState < 1) return;
      store.time = store.chunks[this.index].offset + this.$refs.video.currentTime;
      if (this.spans.length && store.time >= this.spans[0][1] - 0.02) this.next();
    },
    tick() {
      this.read();
      const video = this.$refs.video;
      if (video && !video.paused && !video.ended) requestAnimationFrame(this.tick);
    },
    next() {
      this.spans.shift();
      if (!this.spans.length) return this.$refs.video.pause();
      if (Math.abs(this.spans[0][0] - store.time) > 0.1) this.go(this.spans[0][0], true);
    },
    paused() {
      if (!this.resumes) store.playing = false;
    },
    ended() {
      if (this.index + 1 < store.chunks.length) this.go(store.chunks[this.index + 1].offset, true);
    },
    failed() {
      const code = this.$refs.video.error?.code;
      const name = store.chunks[this.index].name;
      this.resumes = false;
      store.playing = false;
      this.problem = `${name} ${PROBLEMS[code] || "cannot be played"}. Everything else works without it.`;
    },
  },
};
