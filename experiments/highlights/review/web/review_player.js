// The video: several files that follow each other are one recording. The box of the labels is on it.
import { clock, markEnd, markStart, parts, store, tell } from "review/store.js";

const PROBLEMS = {
  2: "could not be read to its end",
  3: "is damaged, or of a kind that this browser cannot decode",
  4: "cannot be played by this browser: its codec or container is not known to it",
};
const WATCHED_SECONDS = 2; // that are played before the server is told
const PICTURE_MILLISECONDS = 700; // between two pictures of what is cut out, while it plays

export default {
  template: `
    <div class="player">
      <div class="screen" ref="screen">
        <video ref="video" controls playsinline preload="metadata" disablepictureinpicture
          @loadedmetadata="ready" @playing="tick" @timeupdate="read" @play="store.playing = true"
          @pause="paused" @ended="ended" @error="failed" @seeked="seeked"></video>
        <div class="sheet" v-if="store.labelling && !problem" :class="{ drawing: store.drawing }" :style="sheet"
          @pointerdown.prevent="draw">
          <div class="box" v-if="box" :style="boxStyle"></div>
        </div>
        <img class="cut-out" v-if="store.labelling && cutOut && !problem" :src="cutOut" title="What is cut out and heard"
          alt="What is cut out, and the sound of the last seconds" @error="cutOut = ''" />
        <div class="problem" v-if="problem" role="alert">
          <div>{{ problem }}
            <div v-if="making" class="making">A copy to watch is being made: {{ Math.round(100 * store.copies.share) }} %</div>
            <button v-else type="button" class="copy" @click="parts.copy(store.chunks[index].number)">
              Make a copy that can be played</button>
            <div v-if="store.copies.problem">{{ store.copies.problem }}</div>
          </div>
        </div>
      </div>
      <div class="player-line">
        <span class="clock">{{ clock(store.time) }}</span>
        <span class="faint">of {{ clock(store.duration, 0) }}</span>
        <span class="faint name" v-if="store.chunks.length > 1">{{ store.chunks[index]?.name }}</span>
        <span class="marks">
          <button type="button" v-if="store.labelling" :class="{ on: store.drawing }" title="Drag over the picture (b)"
            @click="store.drawing = !store.drawing">{{ store.drawing ? "Drag over the face" : "Draw the box" }}</button>
          <span class="faint">{{ store.mark === null ? "New segment" : "From " + clock(store.mark) }}</span>
          <button type="button" title="A new segment starts here (i)" @click="markStart">Starts here</button>
          <button type="button" title="It ends here (o)" :disabled="store.mark === null" @click="markEnd(true)">Ends here</button>
          <button type="button" title="It ends here, and is no highlight (x)" :disabled="store.mark === null"
            @click="markEnd(false)">None</button>
        </span>
      </div>
    </div>`,
  data: () => ({ store, parts, index: 0, problem: "", cutOut: "", sheet: {}, drawn: null }),
  computed: {
    making() {
      return store.copies.making === store.chunks[this.index]?.number;
    },
    box() {
      return this.drawn || store.box;
    },
    boxStyle() {
      const [x1, y1, x2, y2] = this.box.map((value) => 100 * value);
      return { left: `${x1}%`, top: `${y1}%`, width: `${x2 - x1}%`, height: `${y2 - y1}%` };
    },
  },
  watch: {
    "store.recording"() {
      this.restart();
    },
    "store.box"() {
      this.drawn = null;
      this.show();
    },
    "store.copies.ready"(ready) {
      if (this.problem && ready.includes(store.chunks[this.index].number)) this.openCopy();
    },
  },
  created() {
    this.wanted = null; // seconds of a file that is being opened
    this.resumes = false; // whether it plays on once it is open
    this.spans = []; // that are played one after the other
    this.looked = null; // stretch that is being played
    this.following = null; // time that a dragged edge wants to see
    this.shown = 0; // when the picture of what is cut out was last asked for
  },
  mounted() {
    Object.assign(parts, { seek: this.seek, play: this.play, toggle: this.toggle, follow: this.follow });
    this.watcher = new ResizeObserver(this.fit);
    this.watcher.observe(this.$refs.screen);
    this.open(0, 0, false);
  },
  unmounted() {
    this.watcher.disconnect();
  },
  methods: {
    clock,
    markEnd,
    markStart,
    restart() {
      this.report();
      Object.assign(this, { index: 0, problem: "", cutOut: "", drawn: null });
      this.$refs.video.removeAttribute("src");
      this.spans = [];
      this.open(0, 0, false);
    },
    seek(time) {
      this.spans = [];
      this.go(time, !this.$refs.video.paused || this.resumes);
    },
    // The picture at an edge that is dragged; while one is sought, only the last one that is wanted counts.
    follow(time) {
      const video = this.$refs.video;
      if (!video.paused) video.pause();
      this.spans = [];
      if (video.seeking) this.following = time;
      else this.go(time, false);
    },
    seeked() {
      const time = this.following;
      this.following = null;
      if (time !== null) this.go(time, false);
      this.show();
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
      this.report();
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
      const { url, number } = store.chunks[index];
      this.$refs.video.src = store.copies.ready.includes(number) ? `${url}?copy=true` : url;
    },
    openCopy() {
      this.problem = "";
      this.wanted = store.time - store.chunks[this.index].offset;
      this.$refs.video.src = `${store.chunks[this.index].url}?copy=true`;
    },
    ready() {
      if (this.wanted) this.$refs.video.currentTime = this.wanted;
      this.wanted = null;
      if (this.resumes) this.start();
      this.resumes = false;
      this.fit();
      this.show();
    },
    start() {
      this.$refs.video.play().catch(() => {}); // what went wrong is told by the error event
    },
    read() {
      if (this.wanted !== null || this.$refs.video.readyState < 1) return;
      store.time = store.chunks[this.index].offset + this.$refs.video.currentTime;
      if (store.playing) this.look();
      if (this.spans.length && store.time >= this.spans[0][1] - 0.02) this.next();
    },
    // What was played is what was looked through.
    look() {
      const { looked } = this;
      if (looked && store.time >= looked.end && store.time - looked.end < 1) looked.end = store.time;
      else this.looked = { start: store.time, end: store.time };
      if (this.looked.end - this.looked.start > WATCHED_SECONDS) this.report();
      if (store.labelling && Date.now() - this.shown > PICTURE_MILLISECONDS) this.show();
    },
    report() {
      const { looked } = this;
      this.looked = looked && { start: looked.end, end: looked.end };
      if (looked && looked.end - looked.start > 0.1 && !store.labelling) parts.act({ name: "watched", ...looked });
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
      this.report();
      this.looked = null;
      if (!this.resumes) store.playing = false;
      this.show();
    },
    ended() {
      if (this.index + 1 < store.chunks.length) this.go(store.chunks[this.index + 1].offset, true);
    },
    failed() {
      if (!this.$refs.video.getAttribute("src")) return;
      const code = this.$refs.video.error?.code;
      const name = store.chunks[this.index].name;
      this.resumes = false;
      store.playing = false;
      this.problem = `${name} ${PROBLEMS[code] || "cannot be played"}. Everything else works without it.`;
    },
    // Where the picture is within the player, between its bars.
    fit() {
      const { videoWidth, videoHeight } = this.$refs.video;
      const { clientWidth, clientHeight } = this.$refs.screen;
      if (!videoWidth) return;
      const scale = Math.min(clientWidth / videoWidth, clientHeight / videoHeight);
      const [width, height] = [videoWidth * scale, videoHeight * scale];
      const [left, top] = [(clientWidth - width) / 2, (clientHeight - height) / 2];
      this.sheet = { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` };
    },
    show() {
      if (!store.labelling) return;
      this.shown = Date.now();
      const box = (store.box || []).join();
      this.cutOut = `/picture?model=true&recording=${store.recording}&time=${store.time.toFixed(2)}&box=${box}`;
    },
    draw(event) {
      if (!store.drawing || event.button !== 0) return;
      const frame = event.currentTarget.getBoundingClientRect();
      const at = (pointer) => [
        Math.min(Math.max((pointer.clientX - frame.left) / frame.width, 0), 1),
        Math.min(Math.max((pointer.clientY - frame.top) / frame.height, 0), 1),
      ];
      const from = at(event);
      const stop = new AbortController();
      const on = (name, run) => window.addEventListener(name, run, { signal: stop.signal });
      on("pointermove", (next) => {
        const to = at(next);
        const low = from.map((value, place) => Math.min(value, to[place]));
        const high = from.map((value, place) => Math.max(value, to[place]));
        this.drawn = [...low, ...high].map((value) => Number(value.toFixed(4)));
      });
      on("pointerup", () => {
        stop.abort();
        const [x1, y1, x2, y2] = this.drawn || [0, 0, 0, 0];
        if (x2 - x1 > 0.01 && y2 - y1 > 0.01) {
          parts.act({ name: "box", box: this.drawn });
          store.drawing = false;
        } else this.drawn = null;
      });
      on("pointercancel", () => {
        stop.abort();
        this.drawn = null;
      });
    },
  },
};
